// Package settle judges what becomes of a deployment that was left unfinished: its
// note and the VM as it is now yield a verdict. It owns these rules, which are a
// list, and touches nothing: what a verdict means for links and units is done
// elsewhere.
//
// Entry point: Judge.
package settle

import (
	"fmt"
	"time"

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
)

// World is the VM as it is now.
type World struct {
	Now     time.Time
	Current microvm.StorePath // what `current` names; empty: there is no such link
	Unit    hostapi.UnitState
}

// Verdict is what becomes of a deployment.
type Verdict string

const (
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
	// UndoAtRest is Undo before units start: they are left alone.
	UndoAtRest Verdict = "undo at rest"
	// Finish: the rest of the commit is done.
	Finish Verdict = "finish"
	// Superseded: somebody has installed something else since. Nothing of the VM
	// is touched.
	Superseded Verdict = "superseded"
	// Unconfirmed: its runner is current and the VM runs. That stays.
	Unconfirmed Verdict = "unconfirmed"
	// Links: the previous runner is current and the VM runs. What else of the
	// deployment there is among links goes, the unit is left alone.
	Links Verdict = "links"
)

// Judge compares a note with the VM: a note is a claim about a VM that may be
// weeks old. Of the rules, the first that applies counts.
func Judge(note *vmstate.Note, world World, by Settler) Verdict {
	c := claim{Note: note, World: world, by: by}
	for _, r := range rules() {
		if r.applies(c) {
			return r.verdict
		}
	}
	return Undo
}

// claim is a note beside the world that it is compared with.
type claim struct {
	*vmstate.Note
	World
	by Settler
}

type rule struct {
	verdict Verdict
	applies func(claim) bool
}

func rules() []rule {
	return []rule{
		{Wait, func(c claim) bool { return c.alone() && !c.atRest() && c.Awaits(c.Now) > 0 }},
		{AskGuest, func(c claim) bool { return c.alone() && c.Activating && c.Phase == "" && c.Unit.Up() }},
		{Close, func(c claim) bool { return c.Phase == hostapi.PhaseDone }},
		{Note, func(c claim) bool { return c.Phase == "" || c.Commit == nil || c.Before == nil }},
		{Superseded, func(c claim) bool { return c.Current != c.Runner && !c.putBack() }},
		{Finish, func(c claim) bool { return !c.Reversible() && c.Phase == hostapi.PhaseCommit }},
		{Note, func(c claim) bool { return !c.Reversible() }},
		{Links, func(c claim) bool { return c.spares() && c.putBack() }},
		{Unconfirmed, claim.spares},
		{UndoAtRest, claim.atRest},
	}
}

// alone: nobody is there who knows more than the host.
func (c claim) alone() bool { return c.by == Guard || c.by == Boot }

// atRest: the VM's unit will start by itself, with what `current` is by then.
func (c claim) atRest() bool { return c.by == Boot && !c.Unit.Up() }

// spares: what runs must go on running.
func (c claim) spares() bool { return c.by == Next && c.Unit.Runs() }

// putBack: `current` is what it was before the deployment, or, in an undo, what
// the unit is being started with.
func (c claim) putBack() bool {
	return c.Current == c.Before.Current || (c.Phase == hostapi.PhaseUndo && c.Current == c.Before.Boots())
}

// SupersededBy says for people what has taken the place of a deployment.
func SupersededBy(current microvm.StorePath) string {
	if current == "" {
		return "superseded: `current` was removed since, so nothing was undone"
	}
	return fmt.Sprintf("superseded: %s was made `current` since, so nothing was undone", current)
}
