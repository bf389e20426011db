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
	ours   = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-qemu-web")
	before = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")
	booted = microvm.StorePath("/nix/store/dddddddddddddddddddddddddddddddd-microvm-qemu-web")
	other  = microvm.StorePath("/nix/store/cccccccccccccccccccccccccccccccc-microvm-qemu-web")
)

// situation is one element of the product of all that a verdict rests on.
type situation struct {
	phase   hostapi.Phase
	kind    string // what the deployment does: see kinds
	current string // what `current` names: see paths
	unit    string // see units
	by      Settler
	early   bool // before the note's deadline
}

func (s situation) String() string {
	return fmt.Sprintf("phase %q, %s, current %s, unit %s, by %d, early %v", s.phase, s.kind, s.current, s.unit, s.by, s.early)
}

func phases() []hostapi.Phase {
	return []hostapi.Phase{"", hostapi.PhaseCommit, hostapi.PhaseRestart, hostapi.PhaseAwait, hostapi.PhaseUndo, hostapi.PhaseDone}
}

// kinds: one that is undone, one that is not because it shall not be, a live
// switch, the same before its commit, and one of which nothing is noted yet.
func kinds() []string { return []string{"restart", "irreversible", "live", "announced", "prepared"} }

func paths() map[string]microvm.StorePath {
	return map[string]microvm.StorePath{"ours": ours, "before": before, "booted": booted, "other": other, "none": ""}
}

func units() map[string]hostapi.UnitState {
	return map[string]hostapi.UnitState{
		"up":       {ActiveState: "active", SubState: "running", InvocationID: "a"},
		"starting": {ActiveState: "activating", SubState: "start"},
		"crashing": {ActiveState: "activating", SubState: "auto-restart"},
		"failed":   {ActiveState: "failed", SubState: "failed"},
		"stopped":  {ActiveState: "inactive", SubState: "dead"},
	}
}

// product is every situation there is.
func product() []situation {
	var all []situation
	for _, phase := range phases() {
		for _, kind := range kinds() {
			for current := range paths() {
				for unit := range units() {
					for _, by := range []Settler{Guard, Boot, Next, Attached} {
						for _, early := range []bool{false, true} {
							all = append(all, situation{phase, kind, current, unit, by, early})
						}
					}
				}
			}
		}
	}
	return all
}

// note is the note in a situation. Before the deployment the VM ran another runner
// than the one that was current.
func (s situation) note(now time.Time) *vmstate.Note {
	n := &vmstate.Note{Runner: ours, Phase: s.phase, Deadline: now.Add(-time.Minute)}
	if s.early {
		n.Deadline = now.Add(time.Minute)
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
	n.Before = &vmstate.Snapshot{Current: before, Booted: booted, Unit: hostapi.UnitState{ActiveState: "active"}}
	return n
}

// judge is the verdict in a situation.
func judge(s situation) Verdict {
	now := time.Unix(1_700_000_000, 0)
	return Judge(s.note(now), World{Now: now, Current: paths()[s.current], Unit: units()[s.unit]}, s.by)
}

// words is what a table row says of a dimension: any of them, or each (`*`).
type words string

func (w words) have(value string) bool {
	return w == "*" || strings.Contains(" "+string(w)+" ", " "+value+" ")
}

// The table: rows are tried from the top, and every situation has one. What comes
// before a row is not repeated in it.
func TestJudge(t *testing.T) {
	table := []struct {
		want                                 Verdict
		phase, kind, current, unit, by, time words
	}{
		// An answer may still come: whoever can't ask for it waits, but for a
		// machine that has gone down meanwhile.
		{Wait, "await", "*", "*", "*", "guard", "early"},
		{Wait, "await", "*", "*", "up", "boot", "early"},
		// A live switch was announced, and its guest runs.
		{AskGuest, "-", "live announced", "*", "up", "guard boot", "*"},
		{Close, "done", "*", "*", "*", "*", "*"},
		// Nothing was changed on the host.
		{Note, "-", "*", "*", "*", "*", "*"},
		{Note, "*", "prepared announced", "*", "*", "*", "*"},
		// Never is moved what is foreign.
		{Superseded, "*", "*", "other none", "*", "*", "*"},
		{Superseded, "commit restart await", "*", "booted", "*", "*", "*"},
		// What is not undone.
		{Finish, "commit", "live irreversible", "*", "*", "*", "*"},
		{Note, "*", "live irreversible", "*", "*", "*", "*"},
		// The next deployment touches nothing that runs.
		{Links, "*", "*", "before booted", "up starting", "next", "*"},
		{Unconfirmed, "*", "*", "ours", "up starting", "next", "*"},
		// All others undo; before units start they are left alone.
		{UndoAtRest, "*", "*", "*", "starting crashing failed stopped", "boot", "*"},
		{Undo, "*", "*", "*", "*", "*", "*"},
	}
	settlers := map[Settler]string{Guard: "guard", Boot: "boot", Next: "next", Attached: "attached"}
	used := make([]int, len(table))
	for _, s := range product() {
		phase, when := string(s.phase), "late"
		if phase == "" {
			phase = "-"
		}
		if s.early {
			when = "early"
		}
		for i, row := range table {
			if !row.phase.have(phase) || !row.kind.have(s.kind) || !row.current.have(s.current) ||
				!row.unit.have(s.unit) || !row.by.have(settlers[s.by]) || !row.time.have(when) {
				continue
			}
			used[i]++
			if got := judge(s); got != row.want {
				t.Errorf("%s: %q instead of %q (row %d)", s, got, row.want, i)
			}
			break
		}
	}
	for i, n := range used {
		if n == 0 {
			t.Errorf("row %d is of no situation", i)
		}
	}
}

// What no rule may ever do, whatever else changes.
func TestVerdictsAreSafe(t *testing.T) {
	for _, s := range product() {
		got := judge(s)
		undoes := got == Undo || got == UndoAtRest || got == Links
		switch {
		case (undoes || got == Finish) && (s.current == "other" || s.current == "none"):
			t.Errorf("%s: %q moves what somebody else has installed", s, got)
		case undoes && s.kind != "restart":
			t.Errorf("%s: %q takes back what is not to be undone", s, got)
		case got == Undo && s.by == Next && units()[s.unit].Runs():
			t.Errorf("%s: %q ends a VM that runs", s, got)
		case got == Undo && s.by == Boot && !units()[s.unit].Up():
			t.Errorf("%s: %q touches units while the machine boots", s, got)
		case got == Undo && s.by == Guard && s.phase == hostapi.PhaseAwait && s.early:
			t.Errorf("%s: %q before the deadline", s, got)
		}
	}
}

// A VM that was new has no previous runner: where nothing is current, its
// deployment was undone or had not come that far.
func TestNewVM(t *testing.T) {
	n := &vmstate.Note{
		Runner: ours, Phase: hostapi.PhaseCommit, Before: &vmstate.Snapshot{},
		Commit: &hostapi.CommitRequest{Activation: hostapi.ActivateStart},
	}
	for current, want := range map[microvm.StorePath]Verdict{"": Undo, ours: Undo, other: Superseded} {
		if got := Judge(n, World{Current: current, Unit: units()["stopped"]}, Guard); got != want {
			t.Errorf("current %q: %q instead of %q", current, got, want)
		}
	}
}
