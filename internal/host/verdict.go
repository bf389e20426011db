package host

import (
	"fmt"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// verdict is what becomes of a deployment that was left unfinished.
type verdict int

const (
	// verdictNote: nothing of the VM has to change, only the history is written.
	verdictNote verdict = iota
	// verdictUndo: links and unit are put back to what they were.
	verdictUndo
	// verdictFinish: the rest of the commit is done.
	verdictFinish
	// verdictSuperseded: somebody has installed something else since. Nothing of
	// the VM is touched.
	verdictSuperseded
	// verdictUnconfirmed: its runner is current and the VM runs. That stays.
	verdictUnconfirmed
	// verdictLinks: the previous runner is current and the VM runs. What else of
	// the deployment there is among links goes, the unit is left alone.
	verdictLinks
)

// judge compares the note with what `current` names now: a note is a claim about
// a VM that may be weeks old. With spare, what runs must go on running.
func (u *unfinished) judge(current microvm.StorePath, spare bool) verdict {
	switch {
	case u.Phase == "" || u.Phase == hostapi.PhaseDone || u.Commit == nil || u.Before == nil:
		return verdictNote
	case current != u.Runner && !u.putBack(current):
		return verdictSuperseded
	case !u.reversible() && u.Phase == hostapi.PhaseCommit:
		return verdictFinish
	case !u.reversible():
		return verdictNote
	case !spare:
		return verdictUndo
	case u.putBack(current):
		return verdictLinks
	}
	return verdictUnconfirmed
}

// putBack: `current` is what it was before the deployment, or, in an undo, what
// the unit is being started with.
func (u *unfinished) putBack(current microvm.StorePath) bool {
	return current == u.Before.Current || (u.Phase == hostapi.PhaseUndo && current == u.Before.boots())
}

// supersededBy says for people what has taken the place of a deployment.
func supersededBy(current microvm.StorePath) string {
	if current == "" {
		return "superseded: `current` was removed since, so nothing was undone"
	}
	return fmt.Sprintf("superseded: %s was made `current` since, so nothing was undone", current)
}
