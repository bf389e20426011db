package manage

import (
	"errors"
	"os"
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

func quiet(string) {}

// twoGenerations is a host with web at generation 2 of 2, booted.
func twoGenerations(t *testing.T) *hosttest.Host {
	t.Helper()
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 768M")
	h.Deploy(hosttest.RunnerA, hostapi.ActivateStart)
	h.Deploy(hosttest.RunnerB, hostapi.ActivateRestart)
	return h
}

func TestLive(t *testing.T) {
	h := twoGenerations(t)
	for _, step := range []struct {
		verb           hostapi.Action
		outcome        string
		starts, stops  int
		booted         microvm.StorePath
		activeAfter    bool
		historyEntries int
	}{
		{hostapi.ActionStart, hostapi.OutcomeUnchanged, 2, 0, hosttest.RunnerB, true, 2},
		{hostapi.ActionRestart, hostapi.OutcomeRestarted, 3, 0, hosttest.RunnerB, true, 3},
		{hostapi.ActionStop, hostapi.OutcomeStopped, 3, 1, "", false, 4},
		{hostapi.ActionStop, hostapi.OutcomeUnchanged, 3, 1, "", false, 4},
		{hostapi.ActionRestart, hostapi.OutcomeStarted, 4, 1, hosttest.RunnerB, true, 5},
		{hostapi.ActionStop, hostapi.OutcomeStopped, 4, 2, "", false, 6},
		{hostapi.ActionStart, hostapi.OutcomeStarted, 5, 2, hosttest.RunnerB, true, 7},
	} {
		life, err := machine(h).Live(t.Context(), web, step.verb, hostapi.Claim{By: "ann@laptop"}, quiet)
		if err != nil {
			t.Fatalf("%s: %v", step.verb, err)
		}
		if life.Outcome != step.outcome || life.Booted != step.booted || life.Unit.Up() != step.activeAfter {
			t.Errorf("%s: %+v", step.verb, life)
		}
		if len(h.Units.Starts) != step.starts || h.Units.Stops != step.stops {
			t.Errorf("%s: %d starts, %d stops", step.verb, len(h.Units.Starts), h.Units.Stops)
		}
		history, err := h.Layout.VM(web).History().Read(100)
		if err != nil || len(history.Entries) != step.historyEntries {
			t.Errorf("%s: %d entries, %v", step.verb, len(history.Entries), err)
		}
	}
	if held := h.Layout.VM(web).Lock().Holder(); held != nil {
		t.Errorf("still locked by %+v", held)
	}
}

// A restart brings what is current: what a live switch brought is gone, and with
// it its root. A VM that ferry stopped counts as stopped on purpose.
func TestLiveForgetsTheLiveSwitch(t *testing.T) {
	h := twoGenerations(t)
	note := func() {
		t.Helper()
		if err := liveSwitch(h, hosttest.SystemA); err != nil {
			t.Fatal(err)
		}
	}
	for _, verb := range []hostapi.Action{hostapi.ActionRestart, hostapi.ActionStop} {
		note()
		if _, err := machine(h).Live(t.Context(), web, verb, hostapi.Claim{By: "ann@laptop"}, quiet); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(h.Layout.VM(web).Roots().Path()); !os.IsNotExist(err) {
			t.Errorf("%s leaves GC roots: %v", verb, err)
		}
		if _, err := h.Layout.VM(web).Guest().Running(); err == nil {
			t.Errorf("%s leaves the note of the live switch", verb)
		}
	}
	if err := h.Layout.VM(web).Notes().PutToStart(); err != nil {
		t.Fatal(err)
	}
	if _, err := machine(h).Live(t.Context(), web, hostapi.ActionStop, hostapi.Claim{By: "ann@laptop"}, quiet); err != nil {
		t.Fatal(err)
	}
	vm, err := machine(h).see.Locate(t.Context(), web)
	if err != nil || vm.ToStart {
		t.Errorf("the stopped VM is to be started: %+v, %v", vm, err)
	}
}

func TestLiveRefuses(t *testing.T) {
	h := twoGenerations(t)
	var f *hostapi.Failure
	_, err := machine(h).Live(t.Context(), "nope", hostapi.ActionStart, hostapi.Claim{By: ""}, quiet)
	if !errors.As(err, &f) || f.Kind != hostapi.KindRefused || !strings.Contains(f.Hint, "web") {
		t.Errorf("an unknown VM: %v, %+v", err, f)
	}
	deployment, err := h.Layout.VM(web).Lock().Take(t.Context(), hostapi.Lock{By: "ann@laptop", Deployment: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []hostapi.Action{hostapi.ActionStart, hostapi.ActionStop, hostapi.ActionRestart} {
		if _, err := machine(h).Live(t.Context(), web, verb, hostapi.Claim{By: "bob@desk"}, quiet); !errors.As(err, &f) || f.Kind != hostapi.KindLocked {
			t.Errorf("%s during a deployment: %v", verb, err)
		}
	}
	deployment.Release()
	h.Units.Fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "microvm-tap-interfaces@web.service failed", Log: []string{"no bridge"}}
	if _, err := machine(h).Live(t.Context(), web, hostapi.ActionRestart, hostapi.Claim{By: "ann@laptop"}, quiet); !errors.As(err, &f) || f.Kind != hostapi.KindUnit {
		t.Errorf("a failing helper: %v", err)
	}
	history, _ := h.Layout.VM(web).History().Read(1)
	if len(history.Entries) != 1 || history.Entries[0].Outcome != "failed" || !strings.Contains(history.Entries[0].Error, "tap-interfaces") {
		t.Errorf("history: %+v", history)
	}
}

// A VM that its host declares may be started and stopped; ferry notes nothing.
func TestLiveOfDeclaredVM(t *testing.T) {
	h := twoGenerations(t)
	h.Units.Declared = "install-microvm-web.service"
	before, _ := h.Layout.VM(web).History().Read(100)
	if life, err := machine(h).Live(t.Context(), web, hostapi.ActionRestart, hostapi.Claim{By: "ann@laptop"}, quiet); err != nil || life.Outcome != hostapi.OutcomeRestarted {
		t.Fatalf("%+v, %v", life, err)
	}
	if after, _ := h.Layout.VM(web).History().Read(100); len(after.Entries) != len(before.Entries) {
		t.Error("a history is kept of a VM that is not ferry's")
	}
}
