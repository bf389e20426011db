package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/health"
	"ferry/internal/host/hosttest"
	"ferry/internal/host/settle"
	"ferry/internal/host/unfinished"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// clock is what time it is for a host.
type clock struct{ now vmstate.Moment }

func (h *testHost) setClock() *clock {
	c := &clock{vmstate.Moment{Boot: "this", Since: time.Hour, Wall: time.Now()}}
	h.Layout.Clock = func() vmstate.Moment { return c.now }
	return c
}

// pass lets time go by.
func (c *clock) pass(d time.Duration) { c.now.Since, c.now.Wall = c.now.Since+d, c.now.Wall.Add(d) }

func (h *testHost) guardOnce() error {
	return h.server().unfinished().SettleOne(context.Background(), web, "one", unfinished.Settling{Log: func(l string) { h.T.Log(l) }})
}

// The wall clock is set, forward by more than the time for an answer, then back
// by a day: what counts is the time that passes.
func TestSettingTheClockMovesNoDeadline(t *testing.T) {
	h := twoRunners(t)
	before := h.contract()
	clock := h.setClock()
	h.await(60).leave()
	for _, step := range []time.Duration{24 * time.Hour, -48 * time.Hour} {
		clock.now.Wall = clock.now.Wall.Add(step)
		if err := h.guardOnce(); !errors.Is(err, unfinished.ErrBusy) {
			t.Fatalf("set by %s: %v", step, err)
		}
	}
	clock.pass(2 * time.Minute)
	if err := h.guardOnce(); err != nil {
		t.Fatal(err)
	}
	if after := h.contract(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// A note of version 0 has a deadline on the wall only: a clock that is set back
// does not keep the VM locked.
func TestOldNoteDoesNotLockForADay(t *testing.T) {
	h := twoRunners(t)
	clock := h.setClock()
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseAwait)
	notes := h.Layout.VM(web).Notes()
	left := notes.Left()
	left.Deadline = clock.now.Wall.Add(24 * time.Hour)
	if got := left.Awaits(clock.now); got != 0 {
		t.Errorf("awaits %s", got)
	}
	left.Deadline = clock.now.Wall.Add(time.Minute)
	if got := left.Awaits(clock.now); got != time.Minute {
		t.Errorf("awaits %s", got)
	}
}

// Somebody else's installation is never reported as the deployment's, nor taken
// back: not when it is confirmed, not when it is to be undone, not when its time
// is over.
func TestForeignRunnerWhileTheAnswerIsAwaited(t *testing.T) {
	for name, ask := range map[string]hostapi.Request{
		"confirmed": {Finish: &hostapi.FinishRequest{Name: web, Outcome: hostapi.OutcomeRestarted}},
		"undone":    {Undo: &hostapi.UndoRequest{Name: web, Why: "the page is not there"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := twoRunners(t)
			h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
			c := h.await(60)
			if err := h.Layout.VM(web).PutLink("current", hosttest.RunnerC); err != nil {
				t.Fatal(err)
			}
			starts := len(h.Units.Starts)
			err := c.ask(ask, nil)
			var f *hostapi.Failure
			if !errors.As(err, &f) || f.RolledBack || !strings.Contains(f.State, string(hosttest.RunnerC)) {
				t.Fatalf("got %+v", err)
			}
			c.leave()
			if h.Link(web, "current") != string(hosttest.RunnerC) || len(h.Units.Starts) != starts || h.Units.Stops != 0 {
				t.Errorf("current is %s, starts %v", h.Link(web, "current"), h.Units.Starts)
			}
			if e := h.lastEntry(); e.ID != "one" || e.Outcome != hostapi.OutcomeFailed || e.Settled != hostapi.SettledSuperseded {
				t.Errorf("history: %+v", e)
			}
		})
	}
}

// Whoever has started or stopped the VM since has the last word on what runs.
func TestUndoLeavesAloneWhatSomebodyElseHasDone(t *testing.T) {
	for name, c := range map[string]struct {
		state   hostapi.UnitState
		settled hostapi.Settled
		current string
	}{
		"started": {hostapi.UnitState{LoadState: "loaded", ActiveState: "active", InvocationID: "else"}, hostapi.SettledUnconfirmed, string(hosttest.RunnerB)},
		"stopped": {hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}, hostapi.SettledUndone, string(hosttest.RunnerA)},
		"killed":  {hostapi.UnitState{LoadState: "loaded", ActiveState: "failed", Result: "timeout"}, hostapi.SettledUndone, string(hosttest.RunnerA)},
	} {
		for _, by := range []string{"operator", "guard"} {
			t.Run(name+" "+by, func(t *testing.T) {
				h := twoRunners(t)
				clock := h.setClock()
				session := h.await(60)
				if c.state.InvocationID == "" { // that of the start which has ended
					c.state.InvocationID = h.Units.State.InvocationID
				}
				h.Units.State = c.state
				starts := len(h.Units.Starts)
				if by == "operator" {
					_ = session.ask(hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "it is not well"}}, nil)
					session.leave()
				} else {
					session.leave()
					clock.pass(5 * time.Minute)
					if err := h.guardOnce(); err != nil {
						t.Fatal(err)
					}
				}
				if len(h.Units.Starts) != starts || h.Units.Stops != 0 {
					t.Errorf("the unit was touched: %v", h.Units.Starts)
				}
				if e := h.lastEntry(); e.ID != "one" || e.Settled != c.settled || h.Link(web, "current") != c.current {
					t.Errorf("current %s, history: %+v", h.Link(web, "current"), e)
				}
			})
		}
	}
}

// A runner that ends again and again has another start each time, which nobody
// has asked for.
func TestCrashLoopIsNotSomebodyElsesStart(t *testing.T) {
	h := twoRunners(t)
	before := h.contract()
	clock := h.setClock()
	h.await(60).leave()
	h.Units.State.InvocationID, h.Units.State.Restarts = "the seventh", 7
	clock.pass(5 * time.Minute)
	if err := h.guardOnce(); err != nil {
		t.Fatal(err)
	}
	if after := h.contract(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// Between the deadline and the guard somebody stops, starts or restarts the VM:
// the links are put back, then the unit does what it is told and no more.
func TestLifeSettlesFirst(t *testing.T) {
	for _, verb := range []hostapi.Action{hostapi.ActionStop, hostapi.ActionRestart} {
		t.Run(string(verb), func(t *testing.T) {
			h := twoRunners(t)
			clock := h.setClock()
			h.await(60).leave()
			clock.pass(5 * time.Minute)
			starts := len(h.Units.Starts)
			if _, err := h.machine().Live(t.Context(), web, verb, hostapi.Claim{By: "bob@desk"}, quiet); err != nil {
				t.Fatal(err)
			}
			if err := h.guardOnce(); err != nil {
				t.Fatal(err)
			}
			started := len(h.Units.Starts) - starts
			if h.Link(web, "current") != string(hosttest.RunnerA) || (verb == hostapi.ActionStop) != (started == 0) || started > 1 {
				t.Errorf("current %s, %d starts", h.Link(web, "current"), started)
			}
			if e := h.Layout.VM(web).History().Entry("one"); e == nil || e.Settled == "" {
				t.Errorf("history: %+v", e)
			}
		})
	}
}

// After a reboot of the host the guard is gone, and what runs by now is left
// alone: adopted where the checks hold, otherwise a person decides.
func TestNothingRunningIsRestartedForANoteOfAnotherBoot(t *testing.T) {
	well := health.Checks{}
	ill := health.Checks{TCP: []string{"127.0.0.1:1"}}
	for name, c := range map[string]struct {
		checks  health.Checks
		choice  hostapi.SettleChoice
		refused bool
		current string
	}{
		"well":       {well, "", false, string(hosttest.RunnerB)},
		"ill":        {ill, "", true, string(hosttest.RunnerB)},
		"ill, kept":  {ill, hostapi.SettleKeep, false, string(hosttest.RunnerB)},
		"ill, taken": {ill, hostapi.SettleUndo, false, string(hosttest.RunnerA)},
	} {
		t.Run(name, func(t *testing.T) {
			h := twoRunners(t)
			clock := h.setClock()
			h.await(60).leave()
			notes := h.Layout.VM(web).Notes()
			left := notes.Left()
			left.Commit.Confirm.Checks = c.checks
			if err := notes.PutDeployment(left); err != nil {
				t.Fatal(err)
			}
			clock.now.Boot, clock.now.Since = "another", time.Minute
			h.Units.State.InvocationID = "of this boot"
			starts := len(h.Units.Starts)
			how := h.server().unfinished().Settling(h.Layout.VM(web), notes.Left(), settle.Next, func(l string) { t.Log(l) })
			how.Choice = c.choice
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // of ten, for a check that fails
			defer cancel()
			if c.choice != "" {
				ctx = t.Context()
			}
			err := how.Settle(ctx)
			if (err != nil) != c.refused {
				t.Fatalf("got %v", err)
			}
			var f *hostapi.Failure
			if c.refused && (!errors.As(err, &f) || !strings.Contains(f.Hint, "--settle=")) {
				t.Errorf("got %v", err)
			}
			if got := len(h.Units.Starts) - starts; (got == 0) == (c.choice == hostapi.SettleUndo) {
				t.Errorf("%d starts", got)
			}
			if h.Link(web, "current") != c.current {
				t.Errorf("current %s", h.Link(web, "current"))
			}
		})
	}
}

// A note of a later ferry is settled by that one, which is kept as long as the
// note is; a program that could be somebody else's is not started.
func TestNewerNoteIsForTheProgramThatWroteIt(t *testing.T) {
	const script = "#!/bin/sh\necho \"$@\" > \"$(dirname \"$0\")/asked\"\nrm \"$(dirname \"$0\")/../lib/vms/web/deployment.json\"\n"
	sum := sha256.Sum256([]byte(script))
	good := hex.EncodeToString(sum[:])
	for name, c := range map[string]struct {
		sum  string
		mode os.FileMode
		runs bool
	}{
		"its own":          {good, 0o755, true},
		"changed":          {strings.Repeat("0", 64), 0o755, false},
		"writable by more": {good, 0o777, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := twoRunners(t)
			h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseRestart)
			h.Write("newer/helper", script)
			path := filepath.Join(h.Layout.Root, "newer/helper")
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			notes := h.Layout.VM(web).Notes()
			left := notes.Left()
			left.Version, left.Helper = vmstate.NoteVersion+1, &vmstate.Helper{Path: path, SHA256: c.sum}
			if err := notes.PutDeployment(left); err != nil {
				t.Fatal(err)
			}
			before := h.contract()
			err := h.server().Settle(t.Context(), true, func(_ microvm.Name, l string) { t.Log(l) })
			asked, _ := os.ReadFile(filepath.Join(h.Layout.Root, "newer/asked"))
			if ran := strings.TrimSpace(string(asked)) == "host settle --boot"; ran != c.runs || (err == nil) != c.runs {
				t.Errorf("asked %q, %v", asked, err)
			}
			if after := h.contract(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if c.runs {
				return
			}
			s := h.session() // nor does a new deployment go on
			s.id = "two"
			var f *hostapi.Failure
			if err := s.tryPrepare(hosttest.RunnerB); !errors.As(err, &f) || !strings.Contains(f.Message, "newer version") {
				t.Errorf("got %v", err)
			}
			s.leave()
		})
	}
}
