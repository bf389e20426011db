package host

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// A note is judged by what `current` names: never is a foreign one moved, and
// where a new deployment begins, what runs is left alone.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		phase      hostapi.Phase
		activation hostapi.Activation
		current    microvm.StorePath
		spare      bool
		want       verdict
	}{
		{"", hostapi.ActivateLive, runnerC, false, verdictNote},
		{hostapi.PhaseDone, hostapi.ActivateRestart, runnerC, false, verdictNote},
		{hostapi.PhaseCommit, hostapi.ActivateRestart, runnerA, false, verdictUndo},
		{hostapi.PhaseCommit, hostapi.ActivateRestart, runnerC, false, verdictSuperseded},
		{hostapi.PhaseCommit, hostapi.ActivateRestart, "", false, verdictSuperseded},
		{hostapi.PhaseCommit, hostapi.ActivateRestart, runnerA, true, verdictLinks},
		{hostapi.PhaseCommit, hostapi.ActivateRestart, runnerB, true, verdictUnconfirmed},
		{hostapi.PhaseCommit, hostapi.ActivateLive, runnerA, true, verdictFinish},
		{hostapi.PhaseCommit, hostapi.ActivateLive, runnerC, false, verdictSuperseded},
		{hostapi.PhaseRestart, hostapi.ActivateRestart, runnerB, false, verdictUndo},
		{hostapi.PhaseRestart, hostapi.ActivateRestart, runnerB, true, verdictUnconfirmed},
		{hostapi.PhaseRestart, hostapi.ActivateRestart, runnerC, true, verdictSuperseded},
		{hostapi.PhaseAwait, hostapi.ActivateRestart, runnerB, true, verdictUnconfirmed},
		{hostapi.PhaseAwait, hostapi.ActivateRestart, runnerC, false, verdictSuperseded},
		{hostapi.PhaseUndo, hostapi.ActivateRestart, runnerA, false, verdictUndo},
		{hostapi.PhaseUndo, hostapi.ActivateRestart, runnerA, true, verdictLinks},
		{hostapi.PhaseUndo, hostapi.ActivateRestart, runnerB, true, verdictUnconfirmed},
		// `current` is what ran, while the unit is started with it.
		{hostapi.PhaseUndo, hostapi.ActivateRestart, runnerD, false, verdictUndo},
		{hostapi.PhaseUndo, hostapi.ActivateRestart, runnerD, true, verdictLinks},
		{hostapi.PhaseRestart, hostapi.ActivateRestart, runnerD, false, verdictSuperseded},
	} {
		left := unfinished{
			Runner: runnerB, Phase: c.phase, Commit: &hostapi.CommitRequest{Activation: c.activation},
			Before: &snapshot{Current: runnerA, Booted: runnerD, Unit: hostapi.UnitState{ActiveState: "active"}},
		}
		if got := left.judge(c.current, c.spare); got != c.want {
			t.Errorf("%s, %s, current %q, spare %v: %d instead of %d", c.phase, c.activation, c.current, c.spare, got, c.want)
		}
	}
}

const runnerD = microvm.StorePath("/nix/store/dddddddddddddddddddddddddddddddd-microvm-qemu-web")

// superseded leaves a deployment of runnerB in a phase, then installs runnerC as
// `microvm -u` does, and as a later ferry would, a generation of it.
func superseded(t *testing.T, how hostapi.Activation, phase hostapi.Phase) *testHost {
	t.Helper()
	h := twoRunners(t)
	h.makeRunner(runnerC, systemC, "-m 512M")
	h.leaveAt(how, phase)
	dir := h.layout.vmDir(web)
	if err := replaceLink(dir, "old", h.link(web, "current")); err != nil {
		t.Fatal(err)
	}
	if err := replaceLink(dir, "current", string(runnerC)); err != nil {
		t.Fatal(err)
	}
	if err := h.nix.SetProfile(context.Background(), h.layout.profile(web), runnerC); err != nil {
		t.Fatal(err)
	}
	if _, err := h.units.Run(context.Background(), web, hostapi.ActivateRestart, nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// Whoever settles it, a note of weeks ago takes nothing back that was installed
// since.
func TestSupersededDeploymentIsOnlyNoted(t *testing.T) {
	log := func(l string) { t.Log(l) }
	settlers := map[string]func(h *testHost) error{
		"guard": func(h *testHost) error {
			return h.server().settleOne(context.Background(), web, "one", settling{again: true, log: log})
		},
		"boot": func(h *testHost) error {
			h.units.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}
			return h.server().Settle(context.Background(), true, func(_ microvm.Name, l string) { log(l) })
		},
		"resume": func(h *testHost) error {
			c := h.session()
			defer c.leave()
			return c.ask(hostapi.Request{Resume: &hostapi.ResumeRequest{Name: web, ID: "one"}}, nil)
		},
		"prepare": func(h *testHost) error {
			c := h.session()
			defer c.leave()
			c.id = "two"
			return c.tryPrepare(runnerA)
		},
		"prepare, stopped": func(h *testHost) error {
			h.units.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}
			c := h.session()
			defer c.leave()
			c.id = "two"
			return c.tryPrepare(runnerA)
		},
	}
	for name, settle := range settlers {
		for _, phase := range []hostapi.Phase{hostapi.PhaseCommit, hostapi.PhaseRestart, hostapi.PhaseAwait, hostapi.PhaseUndo} {
			t.Run(name+" "+string(phase), func(t *testing.T) {
				h := superseded(t, hostapi.ActivateRestart, phase)
				before, starts, stops := h.contract(), len(h.units.starts), h.units.stops
				if err := settle(h); err != nil {
					t.Fatal(err)
				}
				if after := h.contract(); after != before {
					t.Errorf("before:\n%s\nafter:\n%s", before, after)
				}
				if len(h.units.starts) != starts || h.units.stops != stops {
					t.Errorf("the unit was touched: %v, %d stops", h.units.starts, h.units.stops)
				}
				h.wantEntry("one", hostapi.SettledSuperseded, string(runnerC))
			})
		}
	}
}

// A live switch that is finished late overwrites nothing either, but what the
// guest runs is kept.
func TestSupersededLiveSwitchKeepsWhatRuns(t *testing.T) {
	h := superseded(t, hostapi.ActivateLive, hostapi.PhaseCommit)
	var left unfinished
	if err := h.layout.readNote(web, noteDeployment, &left); err != nil {
		t.Fatal(err)
	}
	h.units.state.InvocationID = left.Before.Unit.InvocationID // not restarted since
	if err := h.server().settleOne(context.Background(), web, "one", settling{log: func(l string) { t.Log(l) }}); err != nil {
		t.Fatal(err)
	}
	if h.link(web, "current") != string(runnerC) {
		t.Errorf("current is %s", h.link(web, "current"))
	}
	var note runningNote
	if err := h.layout.readNote(web, noteRunning, &note); err != nil || note.System != systemB {
		t.Errorf("running: %+v, %v", note, err)
	}
	h.wantEntry("one", hostapi.SettledSuperseded, string(runnerC))
}

// A new deployment leaves a VM that runs as it is, whatever was interrupted, and
// goes on from there.
func TestPrepareNeverTouchesAVMThatRuns(t *testing.T) {
	for _, phase := range []hostapi.Phase{hostapi.PhaseCommit, hostapi.PhaseRestart, hostapi.PhaseAwait, hostapi.PhaseUndo} {
		for _, state := range []hostapi.UnitState{{ActiveState: "active"}, {ActiveState: "reloading"}, {ActiveState: "activating", SubState: "start"}} {
			t.Run(string(phase)+" "+state.ActiveState, func(t *testing.T) {
				h := twoRunners(t)
				clean := h.contract()
				h.leaveAt(hostapi.ActivateRestart, phase)
				before, starts, stops := h.contract(), len(h.units.starts), h.units.stops
				h.units.state.ActiveState, h.units.state.SubState = state.ActiveState, state.SubState
				c := h.session()
				c.id = "two"
				c.prepare(runnerB)
				c.leave()
				if len(h.units.starts) != starts || h.units.stops != stops {
					t.Errorf("the unit was touched: %v, %d stops", h.units.starts, h.units.stops)
				}
				want, settled := before, hostapi.SettledUnconfirmed
				if phase == hostapi.PhaseCommit { // `current` has not moved: neither does the generation stay
					want, settled = clean, hostapi.SettledUndone
				}
				if after := h.contract(); after != want {
					t.Errorf("wanted:\n%s\ngot:\n%s", want, after)
				}
				h.wantEntry("one", settled, "interrupted")
			})
		}
	}
}

// An undo that was interrupted after `current` was put back is completed on
// disk, also where the new runner still runs.
func TestPrepareCompletesTheLinksOfAnUndo(t *testing.T) {
	h := twoRunners(t)
	clean := h.contract()
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseUndo)
	if err := replaceLink(h.layout.vmDir(web), "current", string(runnerA)); err != nil {
		t.Fatal(err)
	}
	starts := len(h.units.starts)
	c := h.session()
	c.id = "two"
	c.prepare(runnerB)
	c.leave()
	want := strings.ReplaceAll(clean, "/booted "+string(runnerA), "/booted "+string(runnerB))
	if after := h.contract(); after != want {
		t.Errorf("wanted:\n%s\ngot:\n%s", want, after)
	}
	if len(h.units.starts) != starts || h.units.stops != 0 {
		t.Error("the unit was touched")
	}
	h.wantEntry("one", hostapi.SettledUnconfirmed, "interrupted")
}

// An undo deletes only generations of its own deployment.
func TestUndoKeepsOtherGenerations(t *testing.T) {
	h := twoRunners(t)
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseRestart)
	if err := h.nix.SetProfile(context.Background(), h.layout.profile(web), runnerC); err != nil {
		t.Fatal(err)
	}
	if err := h.server().settleOne(context.Background(), web, "", settling{log: func(l string) { t.Log(l) }}); err != nil {
		t.Fatal(err)
	}
	numbers, err := h.layout.generationNumbers(web)
	newest := numbers[len(numbers)-1]
	if err != nil || !slices.Equal(numbers, []int{1, newest}) || h.layout.generation(web) != newest {
		t.Errorf("generations %v, the profile's is %d, %v", numbers, h.layout.generation(web), err)
	}
}

// wantEntry finds a deployment in the history, and neither note nor pending root.
func (h *testHost) wantEntry(id string, settled hostapi.Settled, says string) {
	h.t.Helper()
	e := h.layout.entry(web, id)
	if e == nil {
		h.t.Fatal("the history does not have it")
	}
	if e.Outcome != hostapi.OutcomeInterrupted || e.Settled != settled || !strings.Contains(e.Error, says) {
		h.t.Errorf("history: %+v", e)
	}
	var left unfinished
	if h.layout.readNote(web, noteDeployment, &left) == nil && left.ID == id {
		h.t.Error("its note is still there")
	}
	if _, err := os.Lstat(filepath.Join(h.layout.ferryRoots(web), "pending")); err == nil {
		h.t.Error("a pending root is still there")
	}
}
