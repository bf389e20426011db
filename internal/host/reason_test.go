package host

import (
	"ferry/internal/host/hosttest"
	"ferry/internal/microvm"

	"context"
	"errors"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/nix"
)

// The one line of a failure has the reason, not only the command.
func TestReasonOfAFailure(t *testing.T) {
	long := "nix-env --set " + strings.Repeat("x", 500)
	for text, want := range map[string]string{
		"":                      "",
		"the page is not there": "the page is not there",
		"no\nmore":              "no: more",
		"nix copy: exit status 1\nwarning: slow\nerror: writing to file: No space left on device":       "nix copy: exit status 1: writing to file: No space left on device",
		"nix build: exit status 1\nerror:\n       … while linking\n       error: it is broken\nnote: x": "nix build: exit status 1: it is broken",
		"building x.drv failed: exit code 1\ndd: No space left on device\nmake: *** Error 1":            "building x.drv failed: exit code 1: dd: No space left on device",
		long + "\nerror: no": long[:hostapi.MaxHead] + "…: no",
	} {
		if got := hostapi.Reason(text); got != want {
			t.Errorf("%q: got %q, wanted %q", text, got, want)
		}
	}
}

func noSpace(command string) error {
	return &nix.CommandError{Command: command, ExitCode: 1, Err: errors.New("exit status 1"), Stderr: []string{"error: writing to file: No space left on device"}}
}

// An undo that the guard had to do says in the history why it was needed.
func TestLateUndoSaysWhyItWasNeeded(t *testing.T) {
	h := twoRunners(t)
	c := h.session()
	c.prepare(hosttest.RunnerB)
	h.Units.FailOnce = noSpace("nix-env --set runner")
	h.Units.Asked = func() error { // so that the session cannot undo it
		if len(h.Units.Starts) == 2 {
			return errors.New("systemd is gone")
		}
		return nil
	}
	if err := c.ask(hostapi.Request{Commit: commitB(hostapi.Confirmation{})}, nil); err == nil {
		t.Fatal("it was committed")
	}
	c.leave()
	h.Units.Asked = nil
	if err := h.guardian().stand(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := h.lastEntry(); !strings.Contains(e.Error, "nix-env") || !strings.Contains(e.Error, "No space left") {
		t.Errorf("history: %+v", e)
	}
}

// What the host has said about a failed build or download, the operator's last
// word does not repeat: the history has it all the same.
func TestHistoryHasWhatTheBuilderSaid(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	c.prepare(hosttest.RunnerA)
	h.Nix.Building = func(context.Context) error {
		return &nix.BuildError{Derivation: drv(hosttest.RunnerA), Message: "builder failed with exit code 1", LogTail: []string{"dd: No space left on device", "make: *** Error 1"}}
	}
	err := c.ask(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Derivations: []microvm.StorePath{drv(hosttest.RunnerA)}}}, nil)
	if err == nil {
		t.Fatal("it was built")
	}
	if err := c.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: hostapi.OutcomeFailed, Error: err.Error()}}, nil); err != nil {
		t.Fatal(err)
	}
	c.leave()
	if e := h.lastEntry(); !strings.Contains(e.Error, "exit code 1") || !strings.Contains(e.Reason(), "No space left") {
		t.Errorf("history: %+v", e)
	}
}
