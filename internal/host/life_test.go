package host

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

func quiet(string) {}

// twoGenerations is a host with web at generation 2 of 2, booted.
func twoGenerations(t *testing.T) *testHost {
	t.Helper()
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "-m 512M")
	h.makeRunner(runnerB, systemB, "-m 768M")
	h.deploy(runnerA, hostapi.ActivateStart)
	h.deploy(runnerB, hostapi.ActivateRestart)
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
		{hostapi.ActionStart, hostapi.LifeUnchanged, 2, 0, runnerB, true, 2},
		{hostapi.ActionRestart, hostapi.LifeRestarted, 3, 0, runnerB, true, 3},
		{hostapi.ActionStop, hostapi.LifeStopped, 3, 1, "", false, 4},
		{hostapi.ActionStop, hostapi.LifeUnchanged, 3, 1, "", false, 4},
		{hostapi.ActionRestart, hostapi.LifeStarted, 4, 1, runnerB, true, 5},
		{hostapi.ActionStop, hostapi.LifeStopped, 4, 2, "", false, 6},
		{hostapi.ActionStart, hostapi.LifeStarted, 5, 2, runnerB, true, 7},
	} {
		life, err := h.server().Live(t.Context(), web, step.verb, hostapi.Claim{By: "ann@laptop"}, quiet)
		if err != nil {
			t.Fatalf("%s: %v", step.verb, err)
		}
		if life.Outcome != step.outcome || life.Booted != step.booted || life.Unit.Up() != step.activeAfter {
			t.Errorf("%s: %+v", step.verb, life)
		}
		if len(h.units.starts) != step.starts || h.units.stops != step.stops {
			t.Errorf("%s: %d starts, %d stops", step.verb, len(h.units.starts), h.units.stops)
		}
		history, err := h.layout.History(web, 100)
		if err != nil || len(history.Entries) != step.historyEntries {
			t.Errorf("%s: %d entries, %v", step.verb, len(history.Entries), err)
		}
	}
	if held := h.layout.lockHolder(web); held != nil {
		t.Errorf("still locked by %+v", held)
	}
}

// A restart brings what is current: what a live switch brought is gone, and with
// it its root. A VM that ferry stopped counts as stopped on purpose.
func TestLiveForgetsTheLiveSwitch(t *testing.T) {
	h := twoGenerations(t)
	note := func() {
		t.Helper()
		if err := h.server().rootRunning(t.Context(), web, runningNote{System: systemA, InvocationID: h.units.state.InvocationID}); err != nil {
			t.Fatal(err)
		}
	}
	for _, verb := range []hostapi.Action{hostapi.ActionRestart, hostapi.ActionStop} {
		note()
		if _, err := h.server().Live(t.Context(), web, verb, hostapi.Claim{By: "ann@laptop"}, quiet); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(h.layout.ferryRoots(web)); !os.IsNotExist(err) {
			t.Errorf("%s leaves GC roots: %v", verb, err)
		}
		if h.layout.readNote(web, noteRunning, &runningNote{}) == nil {
			t.Errorf("%s leaves the note of the live switch", verb)
		}
	}
	if err := h.layout.writeNote(web, noteToStart, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.server().Live(t.Context(), web, hostapi.ActionStop, hostapi.Claim{By: "ann@laptop"}, quiet); err != nil {
		t.Fatal(err)
	}
	vm, err := h.server().locate(t.Context(), web)
	if err != nil || vm.ToStart {
		t.Errorf("the stopped VM is to be started: %+v, %v", vm, err)
	}
}

func TestLiveRefuses(t *testing.T) {
	h := twoGenerations(t)
	var f *hostapi.Failure
	_, err := h.server().Live(t.Context(), "nope", hostapi.ActionStart, hostapi.Claim{By: ""}, quiet)
	if !errors.As(err, &f) || f.Kind != hostapi.KindRefused || !strings.Contains(f.Hint, "web") {
		t.Errorf("an unknown VM: %v, %+v", err, f)
	}
	deployment := h.session()
	deployment.prepare(runnerA)
	for _, verb := range []hostapi.Action{hostapi.ActionStart, hostapi.ActionStop, hostapi.ActionRestart} {
		if _, err := h.server().Live(t.Context(), web, verb, hostapi.Claim{By: "bob@desk"}, quiet); !errors.As(err, &f) || f.Kind != hostapi.KindLocked {
			t.Errorf("%s during a deployment: %v", verb, err)
		}
	}
	deployment.leave()
	h.units.fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "microvm-tap-interfaces@web.service failed", Log: []string{"no bridge"}}
	if _, err := h.server().Live(t.Context(), web, hostapi.ActionRestart, hostapi.Claim{By: "ann@laptop"}, quiet); !errors.As(err, &f) || f.Kind != hostapi.KindUnit {
		t.Errorf("a failing helper: %v", err)
	}
	history, _ := h.layout.History(web, 1)
	if len(history.Entries) != 1 || history.Entries[0].Outcome != "failed" || !strings.Contains(history.Entries[0].Error, "tap-interfaces") {
		t.Errorf("history: %+v", history)
	}
}

// A VM that its host declares may be started and stopped; ferry notes nothing.
func TestLiveOfDeclaredVM(t *testing.T) {
	h := twoGenerations(t)
	h.units.declared = "install-microvm-web.service"
	before, _ := h.layout.History(web, 100)
	if life, err := h.server().Live(t.Context(), web, hostapi.ActionRestart, hostapi.Claim{By: "ann@laptop"}, quiet); err != nil || life.Outcome != hostapi.LifeRestarted {
		t.Fatalf("%+v, %v", life, err)
	}
	if after, _ := h.layout.History(web, 100); len(after.Entries) != len(before.Entries) {
		t.Error("a history is kept of a VM that is not ferry's")
	}
}

func TestHistoryIsTolerantAndBounded(t *testing.T) {
	h := newTestHost(t)
	if history, err := h.layout.History(web, 5); err != nil || history.Entries == nil || len(history.Entries) != 0 {
		t.Fatalf("without a history: %+v, %v", history, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := h.layout.appendHistory(web, hostapi.HistoryEntry{Deployment: hostapi.Deployment{ID: id}, Outcome: "switched"}); err != nil {
			t.Fatal(err)
		}
	}
	path := h.layout.libDir(web) + "/" + noteHistory
	b, _ := os.ReadFile(path)
	// A crash cut a line, and the file has grown far beyond what is read.
	b = append(append([]byte(`{"id":"cut","outco`+"\n"), b...), []byte("{\"id\":\"d\"")...)
	b = append(bytes.Repeat([]byte("x"), 2*maxHistoryBytes), append([]byte("\n"), b...)...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	history, err := h.layout.History(web, 2)
	if err != nil || history.Broken != 2 || len(history.Entries) != 2 || history.Entries[1].ID != "c" {
		t.Fatalf("%+v, %v", history, err)
	}
}

// Whatever is in a history, reading it ends, and what comes out is bounded and
// can be printed as JSON.
func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"id":"a","outcome":"switched","runner":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-r"}`+"\n"), 3)
	f.Add([]byte(`{"id":"a","runner":"/etc/passwd"}`+"\n\x00\n{}\n[]"), 1)
	f.Add([]byte("\n\n{"), -1)
	f.Fuzz(func(t *testing.T, b []byte, last int) {
		entries, broken := parseHistory(b, last)
		if len(entries) > max(0, last) || broken < 0 || len(entries)+broken > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d entries and %d broken lines of %q with last %d", len(entries), broken, b, last)
		}
		for _, e := range entries {
			if e.Runner != "" && !strings.HasPrefix(string(e.Runner), microvm.StoreDir+"/") {
				t.Errorf("the runner is %q", e.Runner)
			}
		}
	})
}
