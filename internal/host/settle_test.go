package host

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/protocol"
	"ferry/internal/host/unfinished"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// superseded leaves a deployment of hosttest.RunnerB in a phase, then installs hosttest.RunnerC as
// `microvm -u` does, and as a later ferry would, a generation of it.
func superseded(t *testing.T, how hostapi.Activation, phase hostapi.Phase) *testHost {
	t.Helper()
	h := twoRunners(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
	h.leaveAt(how, phase)
	if err := h.Layout.VM(web).PutLink("old", microvm.StorePath(h.Link(web, "current"))); err != nil {
		t.Fatal(err)
	}
	if err := h.Layout.VM(web).PutLink("current", hosttest.RunnerC); err != nil {
		t.Fatal(err)
	}
	if err := h.Nix.SetProfile(context.Background(), h.Layout.VM(web).Profile().Path(), hosttest.RunnerC); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Units.Run(context.Background(), web, hostapi.ActivateRestart, nil); err != nil {
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
			return h.server().unfinished().SettleOne(context.Background(), web, "one", unfinished.Settling{Log: log})
		},
		"boot": func(h *testHost) error {
			h.Units.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}
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
			return c.tryPrepare(hosttest.RunnerA)
		},
		"prepare, stopped": func(h *testHost) error {
			h.Units.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}
			c := h.session()
			defer c.leave()
			c.id = "two"
			return c.tryPrepare(hosttest.RunnerA)
		},
	}
	for name, settle := range settlers {
		for _, phase := range []hostapi.Phase{hostapi.PhaseCommit, hostapi.PhaseRestart, hostapi.PhaseAwait, hostapi.PhaseUndo} {
			t.Run(name+" "+string(phase), func(t *testing.T) {
				h := superseded(t, hostapi.ActivateRestart, phase)
				before, starts, stops := h.contract(), len(h.Units.Starts), h.Units.Stops
				if err := settle(h); err != nil {
					t.Fatal(err)
				}
				if after := h.contract(); after != before {
					t.Errorf("before:\n%s\nafter:\n%s", before, after)
				}
				if len(h.Units.Starts) != starts || h.Units.Stops != stops {
					t.Errorf("the unit was touched: %v, %d stops", h.Units.Starts, h.Units.Stops)
				}
				h.wantEntry("one", hostapi.SettledSuperseded, string(hosttest.RunnerC))
			})
		}
	}
}

// A live switch that is finished late overwrites nothing either, but what the
// guest runs is kept.
func TestSupersededLiveSwitchKeepsWhatRuns(t *testing.T) {
	h := superseded(t, hostapi.ActivateLive, hostapi.PhaseCommit)
	left, err := h.Layout.VM(web).Notes().Deployment()
	if err != nil {
		t.Fatal(err)
	}
	h.Units.State.InvocationID = left.Before.Unit.InvocationID // not restarted since
	if err := h.server().unfinished().SettleOne(context.Background(), web, "one", unfinished.Settling{Log: func(l string) { t.Log(l) }}); err != nil {
		t.Fatal(err)
	}
	if h.Link(web, "current") != string(hosttest.RunnerC) {
		t.Errorf("current is %s", h.Link(web, "current"))
	}
	if note, err := h.Layout.VM(web).Guest().Running(); err != nil || note.System != hosttest.SystemB {
		t.Errorf("running: %+v, %v", note, err)
	}
	h.wantEntry("one", hostapi.SettledSuperseded, string(hosttest.RunnerC))
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
				before, starts, stops := h.contract(), len(h.Units.Starts), h.Units.Stops
				h.Units.State.ActiveState, h.Units.State.SubState = state.ActiveState, state.SubState
				c := h.session()
				c.id = "two"
				c.prepare(hosttest.RunnerB)
				c.leave()
				if len(h.Units.Starts) != starts || h.Units.Stops != stops {
					t.Errorf("the unit was touched: %v, %d stops", h.Units.Starts, h.Units.Stops)
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
	if err := h.Layout.VM(web).PutLink("current", hosttest.RunnerA); err != nil {
		t.Fatal(err)
	}
	starts := len(h.Units.Starts)
	c := h.session()
	c.id = "two"
	c.prepare(hosttest.RunnerB)
	c.leave()
	want := strings.ReplaceAll(clean, "/booted "+string(hosttest.RunnerA), "/booted "+string(hosttest.RunnerB))
	if after := h.contract(); after != want {
		t.Errorf("wanted:\n%s\ngot:\n%s", want, after)
	}
	if len(h.Units.Starts) != starts || h.Units.Stops != 0 {
		t.Error("the unit was touched")
	}
	h.wantEntry("one", hostapi.SettledUnconfirmed, "interrupted")
}

// An undo deletes only generations of its own deployment.
func TestUndoKeepsOtherGenerations(t *testing.T) {
	h := twoRunners(t)
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseRestart)
	if err := h.Nix.SetProfile(context.Background(), h.Layout.VM(web).Profile().Path(), hosttest.RunnerC); err != nil {
		t.Fatal(err)
	}
	if err := h.server().unfinished().SettleOne(context.Background(), web, "", unfinished.Settling{Log: func(l string) { t.Log(l) }}); err != nil {
		t.Fatal(err)
	}
	gens, err := h.Layout.VM(web).Profile().Generations()
	var numbers []int
	for _, g := range gens {
		numbers = append(numbers, g.Number)
	}
	newest := numbers[len(numbers)-1]
	if err != nil || !slices.Equal(numbers, []int{1, newest}) || h.Layout.VM(web).Profile().Current() != newest {
		t.Errorf("generations %v, the profile's is %d, %v", numbers, h.Layout.VM(web).Profile().Current(), err)
	}
}

// wantEntry finds a deployment in the history, and neither note nor pending root.
func (h *testHost) wantEntry(id string, settled hostapi.Settled, says string) {
	h.T.Helper()
	e := h.Layout.VM(web).History().Entry(id)
	if e == nil {
		h.T.Fatal("the history does not have it")
	}
	if e.Outcome != hostapi.OutcomeInterrupted || e.Settled != settled || !strings.Contains(e.Error, says) {
		h.T.Errorf("history: %+v", e)
	}
	if left := h.Layout.VM(web).Notes().Left(); left != nil && left.ID == id {
		h.T.Error("its note is still there")
	}
	if _, err := os.Lstat(filepath.Join(h.Layout.VM(web).Roots().Path(), "pending")); err == nil {
		h.T.Error("a pending root is still there")
	}
}

// meddler changes something of the VM just before a commit moves its links.
type meddler struct {
	nixTool
	meddle func()
}

func (m meddler) SetProfile(ctx context.Context, profile string, p microvm.StorePath) error {
	m.meddle()
	return m.nixTool.SetProfile(ctx, profile, p)
}

// Somebody else's `old` is no installation: a restart is undone, and a live switch,
// which the guest has confirmed, is installed all the same. That link stays.
func TestForeignOld(t *testing.T) {
	for how, current := range map[hostapi.Activation]microvm.StorePath{hostapi.ActivateRestart: hosttest.RunnerA, hostapi.ActivateLive: hosttest.RunnerB} {
		h := twoRunners(t)
		h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
		srv := h.server()
		srv.nix = meddler{h.Nix, func() {
			if err := h.Layout.VM(web).PutLink("old", hosttest.RunnerC); err != nil {
				t.Error(err)
			}
		}}
		s := &session{srv: srv, out: protocol.NewWriter(io.Discard)}
		ask := func(req hostapi.Request) error { _, err := s.answer(t.Context(), req); return err }
		err := ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{Name: web, Runner: hosttest.RunnerB, Deployment: hostapi.Deployment{ID: "two", By: "ann@laptop"}}})
		if err != nil {
			t.Fatal(err)
		}
		req := commitB(hostapi.Confirmation{})
		if req.Activation = how; how == hostapi.ActivateLive {
			req.GuestSystem = hosttest.SystemB
			if err := ask(hostapi.Request{Activate: &hostapi.ActivateRequest{Name: web, Runner: req.Runner, Commit: req}}); err != nil {
				t.Fatal(err)
			}
		}
		err = ask(hostapi.Request{Commit: req})
		if (err == nil) != (how == hostapi.ActivateLive) || h.Link(web, "current") != string(current) || h.Link(web, "old") != string(hosttest.RunnerC) {
			t.Errorf("%s: current %s, old %s, %v", how, h.Link(web, "current"), h.Link(web, "old"), err)
		}
		if f := (*hostapi.Failure)(nil); errors.As(err, &f) && (!f.RolledBack || h.lastEntry().Settled != "" || strings.Contains(f.State, "superseded")) {
			t.Errorf("%+v, history %+v", f, h.lastEntry())
		}
		s.abandon()
	}
}

// A deployment that its history has is only forgotten, whatever was told to the unit
// since.
func TestWhatTheHistoryHasIsNotToldTwice(t *testing.T) {
	h := twoRunners(t)
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseCommit)
	left := h.Layout.VM(web).Notes().Left()
	for _, id := range []string{left.ID, "a-stop"} {
		if err := h.Layout.VM(web).History().Append(hostapi.HistoryEntry{Deployment: hostapi.Deployment{ID: id}, Outcome: hostapi.OutcomeInterrupted}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.guardOnce(); err != nil || len(h.entries(left.ID)) != 1 || h.Layout.VM(web).Notes().Left() != nil {
		t.Errorf("%v, history %+v", err, h.entries(left.ID))
	}
}

// What somebody has installed while a new VM is undone keeps its roots.
func TestUndoOfANewVMLeavesTheRootsOfWhatIsInstalledSince(t *testing.T) {
	h := twoRunners(t)
	vm := h.Layout.VM(web)
	if err := vm.Withdraw(&vmstate.Snapshot{Directory: true}); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(h.Layout.MicrovmRoots(), string(web))
	if _, err := os.Lstat(root); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(vm.Path(), "current")); err != nil {
		t.Fatal(err)
	}
	if err := vm.Withdraw(&vmstate.Snapshot{Directory: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(root); err == nil {
		t.Errorf("%s is left", root)
	}
}
