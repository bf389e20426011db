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

	"ferry/internal/host/hosttest"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
)

// guardian stands by deployment "one" of web, and waits for nothing.
func (h *testHost) guardian() *guardian {
	return &guardian{
		vm: h.Layout.VM(web), id: "one",
		connect: func(context.Context) (*Server, error) { return h.server(), nil },
		pause:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		log:     func(line string) { h.T.Log(line) },
	}
}

// Whatever fails, a guard goes on trying, each time with a connection of its own
// to systemd and ever more slowly, and in the end all is undone.
func TestGuardTriesUntilItSucceeds(t *testing.T) {
	const failures = 12
	h := twoRunners(t)
	before := h.contract()
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseRestart)
	g := h.guardian()
	connections := 0
	g.connect = func(context.Context) (*Server, error) {
		if connections++; connections <= 3 {
			return nil, errors.New("systemd does not answer")
		}
		broken := *h.Units
		if connections <= failures { // each connection is lost, for ever
			broken.Asked = func() error { return errors.New("the connection is closed") }
			return newServer(h.Layout, &broken, h.Nix), nil
		}
		return h.server(), nil
	}
	var waits []time.Duration
	g.pause = func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}
	if err := g.stand(t.Context()); err != nil {
		t.Fatal(err)
	}
	if connections != failures+1 || len(waits) != failures {
		t.Errorf("%d connections, %d waits", connections, len(waits))
	}
	for i, d := range waits {
		if d > guardSlow || (i > 0 && d < waits[i-1]) {
			t.Errorf("waits: %v", waits)
			break
		}
	}
	if after := h.contract(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// A previous runner that does not come up is started once: that is settled as
// undone, but down. Other failures meanwhile do not count.
func TestGuardStartsThePreviousRunnerOnce(t *testing.T) {
	h := twoRunners(t)
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseRestart)
	h.Units.Fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "no tap"}
	starts := len(h.Units.Starts)
	g := h.guardian()
	lost := 0
	g.connect = func(context.Context) (*Server, error) {
		if lost++; lost%2 == 0 {
			return nil, errors.New("systemd does not answer")
		}
		return h.server(), nil
	}
	if err := g.stand(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(h.Units.Starts) - starts; got != 1 {
		t.Errorf("%d starts", got)
	}
	if h.Link(web, "current") != string(hosttest.RunnerA) {
		t.Errorf("current is %s", h.Link(web, "current"))
	}
	if e := h.lastEntry(); e.Outcome != hostapi.OutcomeRolledBack || !e.Down || e.Settled != hostapi.SettledUndone || !strings.Contains(e.Error, "does not start either") || !strings.Contains(e.Error, "no tap") {
		t.Errorf("history: %+v", e)
	}
}

// While a session works on the VM, or an answer is awaited, the guard connects to
// nothing; with the note it goes.
func TestGuardOnlyWatchesASessionAtWork(t *testing.T) {
	h := twoRunners(t)
	c := h.session()
	c.prepare(hosttest.RunnerB)
	g := h.guardian()
	g.connect = func(context.Context) (*Server, error) {
		t.Error("it connected")
		return nil, errors.New("no")
	}
	looks := 0
	g.pause = func(context.Context, time.Duration) error {
		if looks++; looks == 3 {
			c.leave()
		}
		return nil
	}
	if err := g.stand(t.Context()); err != nil || looks != 3 {
		t.Errorf("%v after %d looks", err, looks)
	}
}

// Why a deployment is not settled, the note says: no two tries of a program that
// fails for the same reason write it, and none makes it look younger than it is.
func TestNotesSayWhyTheyAreNotSettled(t *testing.T) {
	h := twoRunners(t)
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseRestart)
	notes := h.Layout.VM(web).Notes()
	left := notes.Left()
	left.Version, left.Boot = 0, ""
	left.Commit.Confirm.Checks.HTTP = []string{"http://127.0.0.1:1/"}
	left.Commit.Confirm.Withheld = []string{"command"}
	if err := notes.PutDeployment(left); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-24 * 365 * 10 * time.Hour) // before this machine has booted
	if err := os.Chtimes(notes.Path(), long, long); err != nil {
		t.Fatal(err)
	}
	starts := len(h.Units.Starts)
	for range 3 {
		over, err := h.guardian().look(t.Context())
		if over || !hostapi.IsRefused(err) {
			t.Fatalf("%v, %v", over, err)
		}
		if left := notes.Left(); left.LastError != err.Error() {
			t.Errorf("the note says %q, not %v", left.LastError, err)
		}
	}
	if got := len(h.Units.Starts); got != starts || h.Link(web, "current") != string(hosttest.RunnerB) {
		t.Errorf("%d starts, current %s", got-starts, h.Link(web, "current"))
	}
}

// A note that a later ferry has taken over is its own: to ask it takes a process, so
// that is done ever more slowly.
func TestGuardAsksALaterFerryEverMoreSlowly(t *testing.T) {
	h := twoRunners(t)
	h.leaveAt(hostapi.ActivateRestart, hostapi.PhaseRestart)
	const script = "#!/bin/sh\nexit 0\n"
	h.Write("newer/helper", script)
	path := filepath.Join(h.Layout.Root, "newer/helper")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(script))
	notes := h.Layout.VM(web).Notes()
	left := notes.Left()
	left.Version, left.Helper = vmstate.NoteVersion+1, &vmstate.Helper{Path: path, SHA256: hex.EncodeToString(sum[:])}
	if err := notes.PutDeployment(left); err != nil {
		t.Fatal(err)
	}
	g := h.guardian()
	var waited []time.Duration
	g.pause = func(_ context.Context, d time.Duration) error {
		if waited = append(waited, d); len(waited) == 3 {
			return errors.New("enough")
		}
		return nil
	}
	if err := g.stand(t.Context()); err == nil || waited[0] < guardRetry || waited[2] <= waited[1] {
		t.Errorf("waited %v, %v", waited, err)
	}
}
