package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
)

// goBack is a rollback by restart, as the operator's side does it.
func (h *testHost) goBack(to int) error {
	h.T.Helper()
	c := h.session()
	defer c.leave()
	var target hostapi.RollbackTarget
	if err := c.ask(hostapi.Request{Rollback: &hostapi.RollbackRequest{Name: web, To: to}}, &target); err != nil {
		return err
	}
	err := c.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{
		Name: web, Runner: target.Generation.Runner,
		Deployment: hostapi.Deployment{ID: "back", By: "ann@laptop", Started: time.Now(), RollbackTo: target.Generation.Number, Target: "root@box"},
	}}, nil)
	if err != nil {
		return err
	}
	if err := c.ask(hostapi.Request{Commit: &hostapi.CommitRequest{
		Name: web, Runner: target.Generation.Runner, Install: true,
		Generation: target.Generation.Number, Activation: hostapi.ActivateRestart,
	}}, nil); err != nil {
		return err
	}
	return c.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "restarted"}}, nil)
}

func (h *testHost) wantGenerations(want string) {
	h.T.Helper()
	gens, err := h.machine().Generations(h.T.Context(), web)
	if err != nil {
		h.T.Fatal(err)
	}
	var got []string
	for _, g := range gens {
		mark := ""
		if g.Current {
			mark += "c"
		}
		if g.Booted {
			mark += "b"
		}
		if g.Running {
			mark += "r"
		}
		got = append(got, fmt.Sprintf("%d%s", g.Number, mark))
	}
	if s := strings.Join(got, " "); s != want {
		h.T.Errorf("generations %q, wanted %q", s, want)
	}
}

// A rollback goes one back each time and keeps the numbers; a deployment of what
// is a later generation's goes there again instead of making a new one.
func TestRollbackGoesBackOneByOne(t *testing.T) {
	h := twoGenerations(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 1G")
	h.deploy(hosttest.RunnerC, hostapi.ActivateRestart)
	h.wantGenerations("1 2 3cbr")
	if err := h.goBack(0); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2cbr 3")
	if h.Link(web, "old") != string(hosttest.RunnerC) || h.Link(web, "current") != string(hosttest.RunnerB) {
		t.Errorf("current %s, old %s", h.Link(web, "current"), h.Link(web, "old"))
	}
	if err := h.goBack(0); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1cbr 2 3")
	err := h.goBack(0)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.Kind != hostapi.KindRefused || !strings.Contains(f.Message, "before 1") || !strings.Contains(f.Hint, "1, 2, 3") {
		t.Errorf("before the first: %v", err)
	}
	if err := h.goBack(3); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2 3cbr")
	if err := h.goBack(7); !errors.As(err, &f) || f.Kind != hostapi.KindRefused {
		t.Errorf("generation 7: %v", err)
	}
	history, _ := h.Layout.VM(web).History().Read(1)
	if len(history.Entries) != 1 || history.Entries[0].RollbackTo != 3 {
		t.Errorf("history: %+v", history)
	}
	if target, _ := h.Layout.VM(web).History().Target(); target != "root@box" {
		t.Errorf("the recorded target is %q", target)
	}
}

// What is current may be none of the generations: then one goes back to what
// ferry installed last.
func TestRollbackFromWhatFerryDidNotInstall(t *testing.T) {
	h := twoGenerations(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 1G")
	if err := h.Layout.VM(web).PutLink("current", hosttest.RunnerC); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2br")
	if err := h.goBack(0); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2cbr")
	if err := os.RemoveAll(filepath.Dir(h.Layout.VM(web).Profile().Path())); err != nil {
		t.Fatal(err)
	}
	var f *hostapi.Failure
	if err := h.goBack(0); !errors.As(err, &f) || f.Kind != hostapi.KindRefused || !strings.Contains(f.Message, "no generations") {
		t.Errorf("without generations: %v", err)
	}
}

// A rollback that can't be committed leaves `current` as it was: the generation
// was collected meanwhile, say.
func TestRollbackToWhatIsGone(t *testing.T) {
	h := twoGenerations(t)
	c := h.session()
	c.prepare(hosttest.RunnerA)
	if err := os.Remove(h.Layout.VM(web).Profile().Path() + "-1-link"); err != nil {
		t.Fatal(err)
	}
	err := c.ask(hostapi.Request{Commit: &hostapi.CommitRequest{Name: web, Runner: hosttest.RunnerA, Install: true, Generation: 1, Activation: hostapi.ActivateRestart}}, nil)
	if err == nil || !strings.Contains(err.Error(), "not "+string(hosttest.RunnerA)) {
		t.Errorf("got %v", err)
	}
	c.leave()
	if h.Link(web, "current") != string(hosttest.RunnerB) || h.Layout.VM(web).Profile().Current() != 2 || len(h.Units.Starts) != 2 {
		t.Errorf("current %s, generation %d, %d starts", h.Link(web, "current"), h.Layout.VM(web).Profile().Current(), len(h.Units.Starts))
	}
}
