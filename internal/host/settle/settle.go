// Package settle judges what becomes of a deployment that was left unfinished: its
// note and the VM as it is now yield a verdict. It owns these rules, which are a
// list, and touches nothing: what a verdict means for links and units is done
// elsewhere.
//
// Entry point: Judge.
package settle

import (
	"fmt"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Settler is who settles a deployment.
type Settler int

const (
	// Guard: a unit that stands by, or somebody who has called it. Nobody is there
	// who could ask the guest.
	Guard Settler = iota
	// Boot: the machine has just started. Units that are not up yet start right
	// afterwards.
	Boot
	// Next is the next deployment, which leaves a VM alone that runs.
	Next
	// Attached is an operator who attaches to the deployment, and can't have it.
	Attached
	// Session has the deployment, and it went wrong.
	Session
	// Life is somebody who starts, stops or removes the VM right afterwards.
	Life
)

// World is the VM as it is now.
type World struct {
	Now     vmstate.Moment
	Current microvm.StorePath // what `current` names; empty: there is no such link
	Booted  microvm.StorePath // what runs, by `booted`; empty: unknown, or nothing
	Unit    hostapi.UnitState
}

// Verdict is what becomes of a deployment.
type Verdict string

const (
	// Refuse: this program does not understand the note.
	Refuse Verdict = "refuse"
	// Wait: the operator may still answer.
	Wait Verdict = "wait"
	// AskGuest: only the guest knows, so only who asks it can settle this.
	AskGuest Verdict = "ask the guest"
	// Close: all is done, only the history remains to be written.
	Close Verdict = "close"
	// Note: nothing of the VM has to change, the history says that it was
	// interrupted.
	Note Verdict = "note"
	// Undo: links and unit are put back to what they were.
	Undo Verdict = "undo"
	// UndoLinks: links are put back, and no unit is touched.
	UndoLinks Verdict = "undo links"
	// Finish: the rest of the commit is done.
	Finish Verdict = "finish"
	// Superseded: somebody has installed something else since. Nothing of the VM
	// is touched.
	Superseded Verdict = "superseded"
	// Unconfirmed: its runner is current and runs, and nobody knows whether it is
	// well. Nothing of the VM is touched.
	Unconfirmed Verdict = "unconfirmed"
)

// Judge compares a note with the VM: a note is a claim about a VM that may be
// weeks old. Of the rules, the first that applies counts.
func Judge(note *vmstate.Note, world World, by Settler) Verdict {
	c := claim{note: note, world: world, by: by}
	for _, r := range rules() {
		if r.applies(c) {
			return r.verdict
		}
	}
	return Undo
}

// claim is a note beside the world that it is compared with.
type claim struct {
	note  *vmstate.Note
	world World
	by    Settler
}

type rule struct {
	verdict Verdict
	applies func(claim) bool
}

func rules() []rule {
	return []rule{
		{Refuse, func(c claim) bool { return !c.note.Known() }},
		// Nothing of the VM has changed on the host.
		{AskGuest, func(c claim) bool {
			return c.alone() && c.note.Activating && c.note.Phase == "" && c.world.Unit.Runs()
		}},
		{Close, func(c claim) bool { return c.done() && c.unchanged() }},
		{Note, claim.unchanged},
		// Somebody has installed something else.
		{Superseded, func(c claim) bool { return !c.ours() && !c.putBack() }},
		// What is not undone.
		{Finish, func(c claim) bool { return !c.note.Reversible() && c.note.Phase == hostapi.PhaseCommit }},
		{Close, claim.done},
		{Note, func(c claim) bool { return !c.note.Reversible() }},
		// The unit is told what to do right afterwards.
		{Unconfirmed, func(c claim) bool { return c.by == Life && c.ours() && c.note.Before.Current == "" }},
		{UndoLinks, func(c claim) bool { return c.by == Life }},
		// Another boot: systemd has decided what runs.
		{UndoLinks, func(c claim) bool { return !c.sameBoot() && !c.runsOurs() }},
		{Unconfirmed, func(c claim) bool { return !c.sameBoot() }},
		// The same boot: who has the last word on the unit?
		{UndoLinks, claim.stopped},
		{Unconfirmed, func(c claim) bool { return c.startedBy() == somebody && c.runsOurs() }},
		{UndoLinks, func(c claim) bool { return c.startedBy() == somebody && c.world.Unit.Runs() }},
		{UndoLinks, func(c claim) bool { return c.note.Phase == hostapi.PhaseCommit }}, // it had not come to the unit
		{Wait, func(c claim) bool { return c.alone() && c.note.Awaits(c.world.Now) > 0 }},
		{UndoLinks, func(c claim) bool { return c.by == Boot && !c.world.Unit.Runs() }},
		{Unconfirmed, func(c claim) bool { return c.by == Next && c.startedBy() == ours && c.runsOurs() }},
		// A new VM that is half uninstalled: nothing would keep what runs.
		{Undo, func(c claim) bool { return c.by == Next && c.startedBy() == ours && c.world.Current == "" }},
		{UndoLinks, func(c claim) bool { return c.by == Next && c.world.Unit.Runs() }},
	}
}

// alone: nobody is there who knows more than the host.
func (c claim) alone() bool { return c.by == Guard || c.by == Boot }

func (c claim) done() bool { return c.note.Phase == hostapi.PhaseDone }

// unchanged: it has not begun to change anything of the VM on the host.
func (c claim) unchanged() bool {
	return c.note.Phase == "" || c.note.Commit == nil || c.note.Before == nil
}

// sameBoot: what the note says of the unit is about this boot of the host. In
// doubt it is not.
func (c claim) sameBoot() bool { return c.note.Boot != "" && c.note.Boot == c.world.Now.Boot }

func (c claim) ours() bool { return c.world.Current == c.note.Runner }

// putBack: `current` is what it was before the deployment, or, in an undo, what
// the unit is being started with.
func (c claim) putBack() bool {
	before := c.note.Before
	return c.world.Current == before.Current || (c.note.Phase == hostapi.PhaseUndo && c.world.Current == before.Boots())
}

// runsOurs: the deployment's runner is current, and as far as can be told it runs.
func (c claim) runsOurs() bool {
	booted := c.world.Booted
	return c.ours() && c.world.Unit.Runs() && (booted == "" || booted == c.note.Runner)
}

// stopped: the unit came up when the deployment had it started, and was stopped
// since. A stop that had to kill the guest leaves it failed; what fails otherwise
// is started again by systemd, or was not up yet.
func (c claim) stopped() bool {
	u := c.world.Unit
	down := u.Stopped() || (u.ActiveState == "failed" && u.Result == "timeout")
	return down && c.note.Invocation != "" && c.startedBy() != earlier
}

// starter is who has started the unit last.
type starter int

const (
	earlier  starter = iota // who did so before the deployment
	ours                    // the deployment, or systemd because that start has ended
	somebody                // nobody of these
)

// startedBy tells starts apart by what systemd says of the last one. Each start
// has an invocation of its own, also the automatic ones, but only those are
// counted, from the last one that somebody asked for (systemd.service(5),
// NRestarts in org.freedesktop.systemd1(5)).
func (c claim) startedBy() starter {
	unit, before := c.world.Unit, c.note.Before.Unit
	switch {
	case unit.InvocationID == "", unit.InvocationID == before.InvocationID:
		return earlier
	case !c.note.Commit.Activation.Starts(), c.note.Phase == hostapi.PhaseCommit:
		if unit.Restarts > before.Restarts {
			return earlier
		}
		return somebody
	case c.note.Invocation == "", unit.InvocationID == c.note.Invocation, unit.Restarts > c.note.Restarts:
		return ours
	}
	return somebody
}

// SupersededBy says for people what has taken the place of a deployment.
func SupersededBy(current microvm.StorePath) string {
	if current == "" {
		return "superseded: `current` was removed since, so nothing was undone"
	}
	return fmt.Sprintf("superseded: %s was made `current` since, so nothing was undone", current)
}
