package vmstate

import (
	"slices"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// NoteVersion is of the notes that this program writes, and the highest that it
// understands. Those of version 0 do not say in which boot they were written.
const NoteVersion = 1

// Note is the note of a deployment under way; one that is found while nobody
// holds the lock was interrupted. Later versions of ferry read it: fields are
// added, never renamed or removed.
type Note struct {
	hostapi.Deployment
	Version int `json:"version,omitempty"`
	// Boot is the boot of the host in which the deployment changes the VM: what is
	// noted of the unit counts for that one only. Empty: unknown.
	Boot string `json:"boot,omitempty"`
	// Helper is the program that wrote this, which can settle it.
	Helper     *Helper                `json:"helper,omitempty"`
	Runner     microvm.StorePath      `json:"runner,omitempty"`
	Activating bool                   `json:"activating,omitempty"` // a live switch was announced
	Phase      hostapi.Phase          `json:"phase,omitempty"`
	Commit     *hostapi.CommitRequest `json:"commit,omitempty"`     // to finish it
	Before     *Snapshot              `json:"before,omitempty"`     // to undo it
	Invocation string                 `json:"invocation,omitempty"` // of the unit since it was started
	Restarts   uint32                 `json:"restarts,omitempty"`   // automatic ones until then
	Deadline   time.Time              `json:"deadline,omitzero"`    // for the operator's answer
	// DeadlineSince is the deadline in nanoseconds since Boot, which is what counts.
	DeadlineSince time.Duration `json:"deadlineSince,omitempty"`
	Why           string        `json:"why,omitempty"`       // it is being undone
	LastError     string        `json:"lastError,omitempty"` // why it is not settled yet
	// UndoStarted is how an undo's start of what ran before has ended: it is made once.
	UndoStarted *UndoStart  `json:"undoStarted,omitempty"`
	Outcome     string      `json:"outcome,omitempty"`    // once it is done
	Killed      string      `json:"killed,omitempty"`     // what ran before, in words
	LastResort  *LastResort `json:"lastResort,omitempty"` // of a live switch
}

// Known reports whether this program understands the note.
func (n *Note) Known() bool {
	return n.Version <= NoteVersion && slices.Contains([]hostapi.Phase{
		"", hostapi.PhaseCommit, hostapi.PhaseRestart, hostapi.PhaseAwait, hostapi.PhaseUndo, hostapi.PhaseDone,
	}, n.Phase)
}

// Stamp notes when this is being written.
func (n *Note) Stamp(now Moment) { n.Version, n.Boot = NoteVersion, now.Boot }

// Reversible: what the deployment does to the host can and shall be undone. A
// live switch is committed only after the guest was confirmed: that is finished
// instead.
func (n *Note) Reversible() bool {
	return n.Commit != nil && n.Before != nil && !n.Commit.Confirm.NoRollback && n.Commit.Activation != hostapi.ActivateLive
}

// Await has the operator's answer awaited for that long.
func (n *Note) Await(now Moment, within time.Duration) {
	n.Deadline, n.DeadlineSince = now.Wall.Add(within).UTC(), now.Since+within
}

// Awaits is how long the operator may still answer. After a reboot of the host
// that is over. A note of version 0 has its deadline on the wall only: where that
// leaves more time than an answer may take, the clock was set back, and it is over,
// too.
func (n *Note) Awaits(now Moment) time.Duration {
	switch {
	case n.Phase != hostapi.PhaseAwait:
		return 0
	case n.DeadlineSince == 0 && n.Commit != nil:
		left, within := n.Deadline.Sub(now.Wall), n.Commit.Confirm.Within()
		if left > within+hostapi.Grace(within) {
			return 0
		}
		return max(0, left)
	case n.Boot != now.Boot:
		return 0
	}
	return max(0, n.DeadlineSince-now.Since)
}

// refusal tells somebody else that an answer is awaited.
func (n *Note) refusal(vm microvm.Name, now Moment) *hostapi.Failure {
	f := hostapi.Lock{By: n.By, Deployment: n.ID, Since: n.Started}.Refusal(vm)
	f.Message += ", which may be confirmed until " + now.Wall.Add(n.Awaits(now)).Format("15:04:05 MST")
	return f
}
