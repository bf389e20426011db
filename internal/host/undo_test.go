package host

import (
	"ferry/internal/host/hosttest"
	"ferry/internal/host/install"
	"ferry/internal/host/settle"
	"ferry/internal/host/unfinished"
	"ferry/internal/host/vmstate"

	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// contract is all that a deployment changes of a VM on its host, apart from
// ferry's own notes.
func (h *testHost) contract() string {
	h.T.Helper()
	var b strings.Builder
	for _, dir := range []string{h.Layout.VM(web).Path(), filepath.Dir(h.Layout.VM(web).Profile().Path()), h.Layout.VM(web).Roots().Path(), h.Layout.MicrovmRoots()} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			target, err := os.Readlink(path)
			if err != nil {
				content, _ := os.ReadFile(path)
				target = string(content)
			}
			b.WriteString(path + " " + target + "\n")
		}
	}
	return b.String()
}

func (h *testHost) lastEntry() hostapi.HistoryEntry {
	h.T.Helper()
	history, err := h.Layout.VM(web).History().Read(1)
	if err != nil || len(history.Entries) == 0 {
		h.T.Fatalf("no history: %v", err)
	}
	return history.Entries[len(history.Entries)-1]
}

// commitB is the commit of a second runner by restart, with a `flake` file.
func commitB(c hostapi.Confirmation) *hostapi.CommitRequest {
	return &hostapi.CommitRequest{Name: web, Runner: hosttest.RunnerB, Install: true, Activation: hostapi.ActivateRestart, UpdateFlake: "github:o/r", Confirm: c}
}

func twoRunners(t *testing.T) *testHost {
	t.Helper()
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 512M")
	h.deploy(hosttest.RunnerA, hostapi.ActivateStart)
	return h
}

// A start that fails brings everything back: links, generation, `flake`, roots,
// and the unit with what it ran.
func TestFailedStartIsUndone(t *testing.T) {
	h := twoRunners(t)
	before := h.contract()
	c := h.session()
	c.prepare(hosttest.RunnerB)
	h.Units.FailOnce = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "microvm-tap-interfaces@web.service failed", Log: []string{"no tap"}}
	err := c.ask(hostapi.Request{Commit: commitB(hostapi.Confirmation{})}, nil)
	var f *hostapi.Failure
	if !errors.As(err, &f) || !f.RolledBack || f.Kind != hostapi.KindUnit || len(f.Log) != 1 || !strings.Contains(f.State, "runs again") {
		t.Fatalf("got %+v", err)
	}
	if after := h.contract(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if h.Link(web, "booted") != string(hosttest.RunnerA) || len(h.Units.Guards) != 2 {
		t.Errorf("booted %s, guards %v", h.Link(web, "booted"), h.Units.Guards)
	}
	if e := h.lastEntry(); e.Outcome != hostapi.OutcomeRolledBack || !strings.Contains(e.Error, "tap-interfaces") {
		t.Errorf("history: %+v", e)
	}
	// The session has no deployment any more, and says how that ended.
	if err := c.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "restarted"}}, nil); !errors.As(err, &f) || !f.RolledBack {
		t.Errorf("got %v", err)
	}
	c.leave()
}

func TestNoRollbackLeavesAFailure(t *testing.T) {
	h := twoRunners(t)
	c := h.session()
	c.prepare(hosttest.RunnerB)
	h.Units.FailOnce = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "failed"}
	err := c.ask(hostapi.Request{Commit: commitB(hostapi.Confirmation{NoRollback: true})}, nil)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.RolledBack || h.Link(web, "current") != string(hosttest.RunnerB) {
		t.Fatalf("%v, current %s", err, h.Link(web, "current"))
	}
	if err := c.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "failed"}}, nil); err != nil {
		t.Fatal(err)
	}
	c.leave()
}

// A VM that was new is as if it had never been there.
func TestFailedFirstStartIsUndone(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "")
	before := h.contract()
	c := h.session()
	c.prepare(hosttest.RunnerB)
	h.Units.FailOnce = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "failed"}
	req := commitB(hostapi.Confirmation{})
	req.Activation = hostapi.ActivateStart
	var f *hostapi.Failure
	if err := c.ask(hostapi.Request{Commit: req}, nil); !errors.As(err, &f) || !f.RolledBack || !strings.Contains(f.State, "new") {
		t.Fatalf("got %v", err)
	}
	c.leave()
	if after := h.contract(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// The previous runner does not start any more either: that is said, and the next
// deployment can still bring something better.
func TestNothingStarts(t *testing.T) {
	h := twoRunners(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
	c := h.session()
	c.prepare(hosttest.RunnerB)
	h.Units.Fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "no tap"}
	var f *hostapi.Failure
	if err := c.ask(hostapi.Request{Commit: commitB(hostapi.Confirmation{})}, nil); !errors.As(err, &f) || f.RolledBack || !strings.Contains(f.State, "does not start either") {
		t.Fatalf("got %+v", err)
	}
	c.leave()
	if h.Link(web, "current") != string(hosttest.RunnerA) {
		t.Errorf("current is %s", h.Link(web, "current"))
	}
	next := h.session()
	next.id = "two"
	next.prepare(hosttest.RunnerC)
	h.Units.Fail = nil
	req := commitB(hostapi.Confirmation{})
	req.Runner = hosttest.RunnerC
	if err := next.ask(hostapi.Request{Commit: req}, nil); err != nil {
		t.Fatal(err)
	}
	next.leave()
	if h.Link(web, "booted") != string(hosttest.RunnerC) || h.lastEntry().Outcome != "restarted" {
		t.Errorf("booted %s, history %+v", h.Link(web, "booted"), h.lastEntry())
	}
}

// The VM had been installed anew but not restarted: what ran runs again, and
// what was installed stays installed.
func TestUndoRestartsWhatRan(t *testing.T) {
	h := twoRunners(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
	h.deploy(hosttest.RunnerB, hostapi.ActivateNone)
	c := h.session()
	c.prepare(hosttest.RunnerC)
	h.Units.FailOnce = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "failed"}
	req := commitB(hostapi.Confirmation{})
	req.Runner = hosttest.RunnerC
	_ = c.ask(hostapi.Request{Commit: req}, nil)
	c.leave()
	if h.Link(web, "booted") != string(hosttest.RunnerA) || h.Link(web, "current") != string(hosttest.RunnerB) || h.Link(web, "old") != string(hosttest.RunnerA) {
		t.Errorf("booted %s, current %s, old %s", h.Link(web, "booted"), h.Link(web, "current"), h.Link(web, "old"))
	}
}

// await begins a commit whose confirmation is awaited.
func (h *testHost) await(seconds int) *client {
	h.T.Helper()
	c := h.session()
	c.prepare(hosttest.RunnerB)
	var done hostapi.Committed
	if err := c.ask(hostapi.Request{Commit: commitB(hostapi.Confirmation{Await: true, Seconds: seconds})}, &done); err != nil {
		h.T.Fatal(err)
	}
	if done.Deadline.Before(time.Now()) {
		h.T.Fatalf("deadline %s", done.Deadline)
	}
	return c
}

func TestOperatorUndoes(t *testing.T) {
	h := twoRunners(t)
	before := h.contract()
	c := h.await(60)
	var undone hostapi.Undone
	if err := c.ask(hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "the page is not there"}}, &undone); err != nil || undone.State == "" {
		t.Fatalf("%v %+v", err, undone)
	}
	c.leave()
	if after := h.contract(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if e := h.lastEntry(); !strings.Contains(e.Error, "the page is not there") {
		t.Errorf("history: %+v", e)
	}
}

// A unit that systemd had to start again meanwhile is not a VM that is well.
func TestConfirmationNeedsTheSameStart(t *testing.T) {
	h := twoRunners(t)
	c := h.await(60)
	h.Units.State.InvocationID, h.Units.State.Restarts = "another", 1
	err := c.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "restarted"}}, nil)
	var f *hostapi.Failure
	if !errors.As(err, &f) || !f.RolledBack || !strings.Contains(f.Message, "started again") {
		t.Fatalf("got %v", err)
	}
	c.leave()
}

// While the answer is awaited the VM is taken, though the session is gone; the
// same deployment may go on, and after the deadline the guard undoes it.
func TestAwaitedAnswer(t *testing.T) {
	h := twoRunners(t)
	before := h.contract()
	h.await(60).leave()
	other := h.session()
	err := other.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{Name: web, Runner: hosttest.RunnerA, Deployment: hostapi.Deployment{ID: "two"}}}, nil)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.Kind != hostapi.KindLocked || !strings.Contains(f.Message, "deployment one") {
		t.Fatalf("got %v", err)
	}
	other.leave()
	if err := h.server().unfinished().SettleOne(context.Background(), web, "one", unfinished.Settling{Log: func(l string) { t.Log(l) }}); !errors.Is(err, unfinished.ErrBusy) {
		t.Fatalf("got %v", err)
	}
	again := h.session()
	var r hostapi.Resumed
	if err := again.ask(hostapi.Request{Resume: &hostapi.ResumeRequest{Name: web, ID: "one"}}, &r); err != nil || r.Phase != hostapi.PhaseAwait {
		t.Fatalf("%v %+v", err, r)
	}
	again.leave()

	left, err := h.Layout.VM(web).Notes().Deployment()
	if err != nil {
		t.Fatal(err)
	}
	left.DeadlineSince = 1
	if err := h.Layout.VM(web).Notes().PutDeployment(left); err != nil {
		t.Fatal(err)
	}
	if err := h.guardian().stand(context.Background()); err != nil {
		t.Fatal(err)
	}
	if after := h.contract(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if e := h.lastEntry(); e.Outcome != hostapi.OutcomeRolledBack || e.Settled != hostapi.SettledUndone {
		t.Errorf("history: %+v", e)
	}
	last := h.session()
	if err := last.ask(hostapi.Request{Resume: &hostapi.ResumeRequest{Name: web, ID: "one"}}, &r); err != nil || r.Outcome != hostapi.OutcomeRolledBack {
		t.Fatalf("%v %+v", err, r)
	}
	if err := last.ask(hostapi.Request{Resume: &hostapi.ResumeRequest{Name: web, ID: "nine"}}, &r); err == nil {
		t.Error("an unknown deployment was resumed")
	}
	last.leave()
}

// Whatever phase a deployment died in, settling ends it in the old state or the
// new one, and twice is as good as once.
func TestSettleEveryPhase(t *testing.T) {
	for _, how := range []hostapi.Activation{hostapi.ActivateNone, hostapi.ActivateLive, hostapi.ActivateRestart} {
		for _, phase := range []hostapi.Phase{hostapi.PhaseCommit, hostapi.PhaseRestart, hostapi.PhaseUndo} {
			for _, booting := range []bool{false, true} {
				if phase != hostapi.PhaseCommit && how != hostapi.ActivateRestart {
					continue
				}
				t.Run(string(how)+" "+string(phase), func(t *testing.T) {
					h := twoRunners(t)
					before := h.contract()
					h.leaveAt(how, phase)
					if booting {
						h.Units.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}
						_ = os.Remove(filepath.Join(h.Layout.VM(web).Path(), "booted"))
						before = strings.ReplaceAll(before, h.Layout.VM(web).Path()+"/booted "+string(hosttest.RunnerA)+"\n", "")
					}
					by := settle.Guard
					if booting {
						by = settle.Boot
					}
					starts := len(h.Units.Starts)
					for range 2 {
						if err := h.server().unfinished().SettleOne(context.Background(), web, "", unfinished.Settling{By: by, Log: func(l string) { t.Log(l) }}); err != nil {
							t.Fatal(err)
						}
					}
					after := h.contract()
					if how == hostapi.ActivateLive {
						if h.Link(web, "current") != string(hosttest.RunnerB) || h.Link(web, "old") != string(hosttest.RunnerA) {
							t.Errorf("after:\n%s", after)
						}
						// What the guest was switched to is kept while it runs.
						if note, err := h.Layout.VM(web).Guest().Running(); !booting && (err != nil || note.System != hosttest.SystemB) {
							t.Errorf("running: %+v, %v", note, err)
						}
					} else if after != before {
						t.Errorf("before:\n%s\nafter:\n%s", before, after)
					}
					if booting && len(h.Units.Starts) != starts {
						t.Error("a unit was started while the machine boots")
					}
					if e := h.lastEntry(); e.Outcome != hostapi.OutcomeInterrupted || e.ID != "one" {
						t.Errorf("history: %+v", e)
					}
				})
			}
		}
	}
}

// leaveAt brings a deployment of hosttest.RunnerB to a phase and leaves it there, the
// links half moved.
func (h *testHost) leaveAt(how hostapi.Activation, phase hostapi.Phase) {
	h.T.Helper()
	ctx := context.Background()
	srv := h.server()
	seen, err := srv.see.Locate(ctx, web)
	if err != nil {
		h.T.Fatal(err)
	}
	vm := srv.see.VM(web)
	before, err := vm.Snapshot(*seen)
	if err != nil {
		h.T.Fatal(err)
	}
	req := commitB(hostapi.Confirmation{})
	req.Activation = how
	if how == hostapi.ActivateLive {
		req.GuestSystem = hosttest.SystemB
	}
	left := vmstate.Note{
		Deployment: hostapi.Deployment{ID: "one", By: "ann@laptop", Started: time.Now()},
		Runner:     hosttest.RunnerB, Activating: how == hostapi.ActivateLive, Phase: phase, Commit: req, Before: before,
	}
	if err := vm.Notes().PutDeployment(&left); err != nil {
		h.T.Fatal(err)
	}
	todo := install.Installation{VM: vm, Nix: h.Nix, Req: *req, Before: before}
	if err := todo.MoveProfile(ctx); err != nil {
		h.T.Fatal(err)
	}
	if phase == hostapi.PhaseCommit {
		return
	}
	if err := todo.Run(ctx); err != nil {
		h.T.Fatal(err)
	}
	if _, err := h.Units.Run(ctx, web, how, nil); err != nil {
		h.T.Fatal(err)
	}
}
