package settle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	made   = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-qemu-web")
	before = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")
	booted = microvm.StorePath("/nix/store/dddddddddddddddddddddddddddddddd-microvm-qemu-web")
	other  = microvm.StorePath("/nix/store/cccccccccccccccccccccccccccccccc-microvm-qemu-web")
)

// situation is one element of the product of all that a verdict rests on.
type situation struct {
	phase   hostapi.Phase
	kind    string // what the deployment does: see kinds
	boot    string // of the note: this one, another, or unknown
	noted   bool   // the note has the unit's start
	current string // what `current` names: see paths
	runs    string // what `booted` names: see paths
	unit    string // see units
	by      Settler
	early   bool // before the note's deadline
}

func (s situation) String() string {
	type plain situation
	return fmt.Sprintf("%+v", plain(s))
}

func phases() []hostapi.Phase {
	return []hostapi.Phase{"", hostapi.PhaseCommit, hostapi.PhaseRestart, hostapi.PhaseAwait, hostapi.PhaseUndo, hostapi.PhaseDone}
}

// kinds: one that restarts and is undone, one that is not because it shall not
// be, a live switch, the same before its commit, and one of which nothing is noted
// yet.
func kinds() []string { return []string{"restart", "irreversible", "live", "announced", "prepared"} }

func paths() map[string]microvm.StorePath {
	return map[string]microvm.StorePath{"new": made, "before": before, "booted": booted, "other": other, "none": ""}
}

// units are those that the deployment did not touch (untouched, never), that it
// has started (ours, starting) and what became of that, and one that somebody else
// has started.
func units() map[string]hostapi.UnitState {
	return map[string]hostapi.UnitState{
		"untouched": {ActiveState: "active", InvocationID: "before"},
		"never":     {ActiveState: "inactive", InvocationID: "before"},
		"ours":      {ActiveState: "active", InvocationID: "ours"},
		"reloading": {ActiveState: "reloading", InvocationID: "ours"},
		"starting":  {ActiveState: "activating", SubState: "start", InvocationID: "ours"},
		"again":     {ActiveState: "active", InvocationID: "later", Restarts: 1},
		"crashing":  {ActiveState: "activating", SubState: "auto-restart", InvocationID: "later", Restarts: 7},
		"failed":    {ActiveState: "failed", Result: "exit-code", InvocationID: "ours"},
		"killed":    {ActiveState: "failed", Result: "timeout", InvocationID: "ours"},
		"stopped":   {ActiveState: "inactive", InvocationID: "ours"},
		"foreign":   {ActiveState: "active", InvocationID: "foreign"},
	}
}

func settlers() map[Settler]string {
	return map[Settler]string{Guard: "guard", Boot: "boot", Next: "next", Attached: "attached", Session: "session", Life: "life"}
}

// product calls f with every situation there is.
func product(f func(situation)) {
	each := []bool{false, true}
	for _, phase := range phases() {
		for _, kind := range kinds() {
			for _, boot := range []string{"this", "another", "unknown"} {
				for current := range paths() {
					for _, runs := range []string{"new", "booted", "none"} {
						for unit := range units() {
							for by := range settlers() {
								for _, noted := range each {
									for _, early := range each {
										f(situation{phase, kind, boot, noted, current, runs, unit, by, early})
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

// note is the note in a situation. Before the deployment the VM ran another runner
// than the one that was current.
func (s situation) note() *vmstate.Note {
	n := &vmstate.Note{Runner: made, Phase: s.phase, Version: vmstate.NoteVersion, Boot: s.boot, DeadlineSince: time.Hour - time.Minute}
	switch {
	case s.boot == "unknown":
		n.Version, n.Boot, n.DeadlineSince, n.Deadline = 0, "", 0, time.Unix(1_700_000_000, 0).Add(-time.Minute)
		if s.early {
			n.Deadline = n.Deadline.Add(2 * time.Minute)
		}
	case s.early:
		n.DeadlineSince += 2 * time.Minute
	}
	if s.noted {
		n.Invocation = "ours"
	}
	n.Activating = s.kind == "live" || s.kind == "announced"
	if s.kind == "prepared" || s.kind == "announced" {
		return n
	}
	n.Commit = &hostapi.CommitRequest{Activation: hostapi.ActivateRestart}
	n.Commit.Confirm.NoRollback = s.kind == "irreversible"
	if s.kind == "live" {
		n.Commit.Activation = hostapi.ActivateLive
	}
	n.Before = &vmstate.Snapshot{Current: before, Booted: booted, Unit: hostapi.UnitState{ActiveState: "active", InvocationID: "before"}}
	return n
}

func (s situation) world() World {
	now := vmstate.Moment{Boot: "this", Since: time.Hour, Wall: time.Unix(1_700_000_000, 0)}
	return World{Now: now, Current: paths()[s.current], Booted: paths()[s.runs], Unit: units()[s.unit]}
}

// judge is the verdict in a situation.
func judge(s situation) Verdict { return Judge(s.note(), s.world(), s.by) }

// words is what a table row says of a dimension: any of them, or each (`*`).
type words string

func (w words) have(value string) bool {
	return w == "*" || strings.Contains(" "+string(w)+" ", " "+value+" ")
}

// row is one of a table; the fields are those of a situation.
type row struct {
	want                                                     Verdict
	phase, kind, boot, noted, current, runs, unit, by, early words
}

func (r row) covers(s situation) bool {
	phase := string(s.phase)
	if phase == "" {
		phase = "-"
	}
	return r.phase.have(phase) && r.kind.have(s.kind) && r.boot.have(s.boot) && r.noted.have(fmt.Sprint(s.noted)) &&
		r.current.have(s.current) && r.runs.have(s.runs) && r.unit.have(s.unit) && r.by.have(settlers()[s.by]) && r.early.have(fmt.Sprint(s.early))
}

// The table: rows are tried from the top, and every situation has one. What comes
// before a row is not repeated in it.
func TestJudge(t *testing.T) {
	const running = "untouched ours reloading starting again foreign"
	table := []row{
		//                 phase, kind, boot, noted, current, runs, unit, by, early
		// A live switch was announced, and its guest runs.
		{AskGuest, "-", "live announced", "*", "*", "*", "*", running, "guard boot", "*"},
		// Nothing was changed on the host.
		{Note, "-", "*", "*", "*", "*", "*", "*", "*", "*"},
		{Close, "done", "prepared announced", "*", "*", "*", "*", "*", "*", "*"},
		{Note, "*", "prepared announced", "*", "*", "*", "*", "*", "*", "*"},
		// Never is moved what is foreign.
		{Superseded, "*", "*", "*", "*", "other none", "*", "*", "*", "*"},
		{Superseded, "commit restart await done", "*", "*", "*", "booted", "*", "*", "*", "*"},
		// What is not undone.
		{Finish, "commit", "live irreversible", "*", "*", "*", "*", "*", "*", "*"},
		{Close, "done", "*", "*", "*", "*", "*", "*", "*", "*"},
		{Note, "*", "live irreversible", "*", "*", "*", "*", "*", "*", "*"},
		// Whoever starts or stops the VM anyway.
		{UndoLinks, "*", "*", "*", "*", "*", "*", "*", "life", "*"},
		// Another boot, or perhaps: what runs by now is left alone.
		{Unconfirmed, "*", "*", "another unknown", "*", "new", "new none", running, "*", "*"},
		{UndoLinks, "*", "*", "another unknown", "*", "*", "*", "*", "*", "*"},
		// Somebody has stopped what the deployment had started.
		{UndoLinks, "*", "*", "*", "true", "*", "*", "stopped killed", "*", "*"},
		// Somebody has started the VM since. In phase `commit` nobody else could.
		{Unconfirmed, "*", "*", "*", "true", "new", "new none", "foreign", "*", "*"},
		{UndoLinks, "*", "*", "*", "true", "*", "*", "foreign", "*", "*"},
		{Unconfirmed, "commit", "*", "*", "*", "new", "new none", "ours reloading starting foreign", "*", "*"},
		{UndoLinks, "commit", "*", "*", "*", "*", "*", "ours reloading starting foreign", "*", "*"},
		// It had not come to the unit.
		{UndoLinks, "commit", "*", "*", "*", "*", "*", "*", "*", "*"},
		// An answer may still come: whoever can't ask for it waits.
		{Wait, "await", "*", "*", "*", "*", "*", "*", "guard boot", "true"},
		// Before units start they are left alone.
		{UndoLinks, "*", "*", "*", "*", "*", "*", "never crashing failed killed stopped", "boot", "*"},
		// The next deployment touches nothing that runs.
		{Unconfirmed, "restart await undo", "*", "*", "*", "new", "new none", "ours reloading starting again foreign", "next", "*"},
		{UndoLinks, "*", "*", "*", "*", "*", "*", running, "next", "*"},
		// All others undo.
		{Undo, "*", "*", "*", "*", "*", "*", "*", "*", "*"},
	}
	used, wrong, all := make([]int, len(table)), 0, 0
	product(func(s situation) {
		all++
		for i, row := range table {
			if !row.covers(s) {
				continue
			}
			used[i]++
			if got := judge(s); got != row.want {
				if wrong++; wrong <= 20 {
					t.Errorf("%s: %q instead of %q (row %d)", s, got, row.want, i)
				}
			}
			break
		}
	})
	t.Logf("%d situations, %d judged otherwise", all, wrong)
	for i, n := range used {
		if n == 0 {
			t.Errorf("row %d is of no situation", i)
		}
	}
}

// What no rule may ever do, whatever else changes.
func TestVerdictsAreSafe(t *testing.T) {
	wrong := 0
	product(func(s situation) {
		got := judge(s)
		undoes, unit := got == Undo || got == UndoLinks, units()[s.unit]
		bad := ""
		switch {
		case (undoes || got == Finish) && (s.current == "other" || s.current == "none"):
			bad = "moves what somebody else has installed"
		case undoes && s.kind != "restart":
			bad = "takes back what is not to be undone"
		case got == Undo && s.by == Next && unit.Runs():
			bad = "ends a VM that runs"
		case got == Undo && (s.by == Boot && !unit.Runs() || s.by == Life):
			bad = "touches a unit that is started or stopped by others right afterwards"
		case got == Undo && s.by == Guard && s.phase == hostapi.PhaseAwait && s.early:
			bad = "is before the deadline"
		case got == Undo && s.boot != "this":
			bad = "touches a unit for what was noted in another boot"
		case got == Undo && s.unit == "foreign" && s.noted:
			bad = "ends what somebody else has started"
		case got == Undo && s.unit == "stopped" && s.noted:
			bad = "starts what somebody has stopped"
		case got == Undo && s.phase == hostapi.PhaseCommit:
			bad = "touches a unit that the deployment has not touched"
		case got == Unconfirmed && !unit.Runs():
			bad = "is of a VM that does not run"
		}
		if bad != "" {
			if wrong++; wrong <= 20 {
				t.Errorf("%s: %q %s", s, got, bad)
			}
		}
	})
}

// A note that a later ferry has written is nobody else's.
func TestUnknownNotesAreRefused(t *testing.T) {
	product(func(s situation) {
		n := s.note()
		n.Version = vmstate.NoteVersion + 1
		if got := Judge(n, s.world(), s.by); got != Refuse {
			t.Fatalf("%s, of a later version: %q", s, got)
		}
		n = s.note()
		n.Phase = "teleport"
		if got := Judge(n, s.world(), s.by); got != Refuse {
			t.Fatalf("%s, of a phase that nobody knows: %q", s, got)
		}
	})
}

// A VM that was new has no previous runner: where nothing is current, its
// deployment was undone or had not come that far.
func TestNewVM(t *testing.T) {
	n := &vmstate.Note{
		Runner: made, Phase: hostapi.PhaseCommit, Version: vmstate.NoteVersion, Boot: "this", Before: &vmstate.Snapshot{},
		Commit: &hostapi.CommitRequest{Activation: hostapi.ActivateStart},
	}
	now := vmstate.Moment{Boot: "this"}
	for current, want := range map[microvm.StorePath]Verdict{"": UndoLinks, made: UndoLinks, other: Superseded} {
		if got := Judge(n, World{Now: now, Current: current, Unit: hostapi.UnitState{ActiveState: "inactive"}}, Guard); got != want {
			t.Errorf("current %q: %q instead of %q", current, got, want)
		}
	}
	// Half uninstalled, it is not left running: nothing would keep it.
	n.Phase, n.Invocation = hostapi.PhaseUndo, "ours"
	if got := Judge(n, World{Now: now, Unit: units()["ours"]}, Next); got != Undo {
		t.Errorf("half uninstalled: %q", got)
	}
	n.Phase, n.Invocation = hostapi.PhaseCommit, ""
	// Whoever stops it needs it to be there.
	if got := Judge(n, World{Now: now, Current: made, Unit: hostapi.UnitState{ActiveState: "active"}}, Life); got != Unconfirmed {
		t.Errorf("stopped by hand: %q", got)
	}
}
