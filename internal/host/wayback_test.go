package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// bootedEarlier is a host whose VM runs RunnerA while RunnerC is installed, with
// RunnerB before it.
func bootedEarlier(t *testing.T) *testHost {
	t.Helper()
	h := twoRunners(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
	h.MakeRunner(hosttest.RunnerD, hosttest.SystemB, "-m 768M")
	h.deploy(hosttest.RunnerB, hostapi.ActivateNone)
	h.deploy(hosttest.RunnerC, hostapi.ActivateNone)
	return h
}

// awaitD is a deployment of RunnerD whose answer is awaited.
func (h *testHost) awaitD() *client {
	h.T.Helper()
	c := h.session()
	c.prepare(hosttest.RunnerD)
	req := commitB(hostapi.Confirmation{Await: true, Seconds: 60})
	req.Runner = hosttest.RunnerD
	if err := c.ask(hostapi.Request{Commit: req}, nil); err != nil {
		h.T.Fatal(err)
	}
	return c
}

func (h *testHost) undoAwaited(c *client) error {
	h.T.Helper()
	var undone hostapi.Undone
	err := c.ask(hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "the page is not there"}}, &undone)
	c.leave()
	if err == nil && undone.State == "" {
		h.T.Error("it does not say how things are")
	}
	return err
}

// wantNothingLeft finds nothing that only a deployment under way needs.
func (h *testHost) wantNothingLeft() {
	h.T.Helper()
	for _, path := range strings.Split(h.Everything(), "\n") {
		for _, part := range []string{"/.ferry-", "/before", "/pending", "/helper", "/deployment.json"} {
			if strings.Contains(path, part) {
				h.T.Errorf("%s is left", path)
			}
		}
	}
}

// All that an undo starts or links is kept from a collector that deletes old
// generations while the answer is awaited.
func TestUndoAfterACollection(t *testing.T) {
	h := bootedEarlier(t)
	c := h.awaitD()
	if roots, err := filepath.Glob(h.Layout.VM(web).Roots().Before() + "*"); err != nil || len(roots) != 3 {
		t.Errorf("roots: %v, %v", roots, err)
	}
	h.Collect(web)
	if err := h.undoAwaited(c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]microvm.StorePath{"booted": hosttest.RunnerA, "current": hosttest.RunnerC, "old": hosttest.RunnerB} {
		if got := h.Link(web, name); got != string(want) || !h.Layout.Has(want) {
			t.Errorf("%s is %s, wanted %s, which is there: %v", name, got, want, h.Layout.Has(want))
		}
	}
	profile := h.Layout.VM(web).Profile()
	if n := profile.Current(); n != 3 || !profile.Has(3, hosttest.RunnerC) {
		t.Errorf("generation %d", n)
	}
	h.wantNothingLeft()
}

// Where an older ferry has kept nothing, what ran may be gone: then the best that is
// there is started, and that is said.
func TestUndoStartsWhatIsStillThere(t *testing.T) {
	h := bootedEarlier(t)
	c := h.awaitD()
	left, err := h.Layout.VM(web).Notes().Deployment()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Layout.VM(web).Roots().DropPending(); err != nil {
		t.Fatal(err)
	}
	c.leave()
	left.DeadlineSince = 1
	if err := h.Layout.VM(web).Notes().PutDeployment(left); err != nil {
		t.Fatal(err)
	}
	h.Collect(web)
	if h.Layout.Has(hosttest.RunnerA) {
		t.Fatal("what ran is still there")
	}
	if err := h.guardian().stand(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.Link(web, "booted") != string(hosttest.RunnerC) || h.Link(web, "current") != string(hosttest.RunnerC) {
		t.Errorf("booted %s, current %s", h.Link(web, "booted"), h.Link(web, "current"))
	}
	if e := h.lastEntry(); e.Settled != hostapi.SettledUndone || !strings.Contains(e.Error, string(hosttest.RunnerA)+", is gone from the store") || !strings.Contains(e.Error, string(hosttest.RunnerC)+" runs again") {
		t.Errorf("history: %+v", e)
	}
}

// Where something else had to be started than what ran, nobody is told that all is as
// before.
func TestUndoWithAnotherRunnerIsNotRolledBack(t *testing.T) {
	h := bootedEarlier(t)
	c := h.awaitD()
	if err := h.Layout.VM(web).Roots().DropPending(); err != nil {
		t.Fatal(err)
	}
	h.Collect(web)
	err := c.ask(hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "it is not well"}}, nil)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.RolledBack || !strings.Contains(f.State, "is gone from the store") {
		t.Errorf("got %+v", err)
	}
	c.leave()
	if e := h.lastEntry(); e.Down || h.Link(web, "booted") != string(hosttest.RunnerC) {
		t.Errorf("booted %s, history: %+v", h.Link(web, "booted"), e)
	}
}

// A path that Nix does not know keeps no deployment from being better than it.
func TestWayBackWithoutWhatNixDoesNotKnow(t *testing.T) {
	h := bootedEarlier(t)
	h.Nix.Lacks = []microvm.StorePath{hosttest.RunnerB} // it is `old`
	c := h.awaitD()
	roots, err := filepath.Glob(h.Layout.VM(web).Roots().Before() + "*")
	if err != nil || len(roots) != 2 {
		t.Errorf("%v, %v", roots, err)
	}
	if err := h.undoAwaited(c); err != nil {
		t.Error(err)
	}
}

// A commit that finds something else installed than at its beginning takes back what
// it has made itself, and nothing else.
func TestCommitLeavesWhatIsInstalledMeanwhile(t *testing.T) {
	h := twoRunners(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
	h.Nix.Profiling = func() { // as microvm -u does
		if err := errors.Join(h.Layout.VM(web).PutLink("old", hosttest.RunnerA), h.Layout.VM(web).PutLink("current", hosttest.RunnerC)); err != nil {
			t.Error(err)
		}
	}
	starts := len(h.Units.Starts)
	c := h.session()
	c.prepare(hosttest.RunnerB)
	err := c.ask(hostapi.Request{Commit: commitB(hostapi.Confirmation{})}, nil)
	c.leave()
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.Kind != hostapi.KindRefused || f.RolledBack || !strings.Contains(f.Message, string(hosttest.RunnerC)) || !strings.Contains(f.State, "superseded") {
		t.Errorf("got %+v", err)
	}
	if h.Link(web, "current") != string(hosttest.RunnerC) || h.Link(web, "old") != string(hosttest.RunnerA) || len(h.Units.Starts) != starts {
		t.Errorf("current %s, old %s, starts %v", h.Link(web, "current"), h.Link(web, "old"), h.Units.Starts)
	}
	if n := h.Layout.VM(web).Profile().Current(); n != 1 {
		t.Errorf("generation %d", n)
	}
	if e := h.lastEntry(); e.Settled != hostapi.SettledSuperseded || e.Outcome != hostapi.OutcomeFailed {
		t.Errorf("history: %+v", e)
	}
	h.wantNothingLeft()
}

// Neither does an undo take back what was installed while the answer was awaited.
func TestUndoLeavesWhatIsInstalledMeanwhile(t *testing.T) {
	h := bootedEarlier(t)
	c := h.awaitD()
	if err := h.Layout.VM(web).PutLink("current", hosttest.RunnerB); err != nil {
		t.Fatal(err)
	}
	starts, old := len(h.Units.Starts), h.Link(web, "old")
	err := h.undoAwaited(c)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.RolledBack || !strings.Contains(f.State, "superseded") {
		t.Errorf("got %+v", err)
	}
	if h.Link(web, "current") != string(hosttest.RunnerB) || h.Link(web, "old") != old || len(h.Units.Starts) != starts {
		t.Errorf("current %s, old %s, starts %v", h.Link(web, "current"), h.Link(web, "old"), h.Units.Starts)
	}
	h.wantNothingLeft()
}

// The guard is of a file that nobody takes away before the deployment is over.
func TestGuardRunsAProgramOfItsOwn(t *testing.T) {
	h := bootedEarlier(t)
	c := h.awaitD()
	left, err := h.Layout.VM(web).Notes().Deployment()
	if err != nil || left.Helper == nil || left.Helper.Path != h.Units.Program || len(left.Helper.SHA256) != 64 {
		t.Fatalf("%+v of %s, %v", left.Helper, h.Units.Program, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mine, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.Stat(left.Helper.Path); err != nil || !os.SameFile(mine, kept) {
		t.Errorf("%v", err)
	}
	if err := h.undoAwaited(c); err != nil {
		t.Fatal(err)
	}
	h.wantNothingLeft()
}

// A VM that ran before and does not start any more is not called brought back, and
// nobody starts it again.
func TestUndoneButDown(t *testing.T) {
	h := bootedEarlier(t)
	c := h.awaitD()
	h.Units.Fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "no tap"}
	starts := len(h.Units.Starts)
	err := h.undoAwaited(c)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.RolledBack || !strings.Contains(f.State, "no tap") {
		t.Errorf("got %+v", err)
	}
	if err := h.guardian().stand(t.Context()); err != nil || len(h.Units.Starts) != starts+1 {
		t.Errorf("%v, %d starts", err, len(h.Units.Starts)-starts)
	}
	if e := h.lastEntry(); e.Outcome != hostapi.OutcomeRolledBack || !e.Down || e.Settled != hostapi.SettledUndone || !strings.Contains(e.Error, "no tap") {
		t.Errorf("history: %+v", e)
	}
	h.wantNothingLeft()
	// Whoever comes back later is told the same.
	again := h.session()
	var r hostapi.Resumed
	if err := again.ask(hostapi.Request{Resume: &hostapi.ResumeRequest{Name: web, ID: "one"}}, &r); err != nil || !r.Down {
		t.Errorf("%v %+v", err, r)
	}
	again.leave()
}

// A start that was made in another boot of the host says nothing about this one.
func TestUndoStartCountsForThisBoot(t *testing.T) {
	now := vmstate.Moment{Boot: "this"}
	s := vmstate.NewUndoStart(now, hosttest.RunnerA, errors.New("no tap"))
	other := s
	other.Boot = "another"
	for name, c := range map[string]struct {
		start  *vmstate.UndoStart
		runner microvm.StorePath
		counts bool
	}{
		"none": {nil, hosttest.RunnerA, false}, "this": {&s, hosttest.RunnerA, true},
		"another runner": {&s, hosttest.RunnerB, false}, "another boot": {&other, hosttest.RunnerA, false},
	} {
		if c.start.Counts(now, c.runner) != c.counts {
			t.Errorf("%s: %v", name, !c.counts)
		}
	}
}
