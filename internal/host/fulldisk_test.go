//go:build linux

package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
)

// expired leaves a deployment by restart whose answer was awaited in vain.
func (h *testHost) expired() {
	h.T.Helper()
	h.await(60).leave()
	h.expire()
}

// expire has the time for the answer be over.
func (h *testHost) expire() {
	h.T.Helper()
	left, err := h.Layout.VM(web).Notes().Deployment()
	if err != nil {
		h.T.Fatal(err)
	}
	left.DeadlineSince = 1
	if err := h.Layout.VM(web).Notes().PutDeployment(left); err != nil {
		h.T.Fatal(err)
	}
}

// entries are the deployment's in the history.
func (h *testHost) entries(id string) []hostapi.HistoryEntry {
	h.T.Helper()
	history, err := h.Layout.VM(web).History().Read(100)
	if err != nil || history.Broken > 0 {
		h.T.Fatalf("%d broken lines, %v", history.Broken, err)
	}
	return slices.DeleteFunc(history.Entries, func(e hostapi.HistoryEntry) bool { return e.ID != id })
}

// An undo needs no space: while nothing can be made or written, links and generations
// are put back and what ran before is started, once. The history is written when there
// is space again.
func TestUndoOnAFullDisk(t *testing.T) {
	for name, fails := range map[string]error{"it starts": nil, "it does not start": &hostapi.Failure{Kind: hostapi.KindUnit, Message: "no tap"}} {
		t.Run(name, func(t *testing.T) { undoOnAFullDisk(t, fails) })
	}
}

func undoOnAFullDisk(t *testing.T, fails error) {
	if !hosttest.SmallDisk(t) {
		return
	}
	h := twoRunners(t)
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 512M")
	// What runs is not what is installed, and there is a `flake` file.
	h.deploy(hosttest.RunnerC, hostapi.ActivateNone)
	if err := h.Layout.VM(web).PutFlake("github:a/b"); err != nil {
		t.Fatal(err)
	}
	before, starts := h.contract(), len(h.Units.Starts)
	h.expired()
	started := len(h.Units.Starts)
	if started != starts+1 {
		t.Fatalf("starts: %v", h.Units.Starts)
	}
	h.Units.Fail = fails
	free := h.Fill()
	g, looks := h.guardian(), 0
	g.pause = func(ctx context.Context, _ time.Duration) error {
		looks++
		if got := len(h.Units.Starts); got != started+1 {
			t.Errorf("look %d: %d starts", looks, got-started)
		}
		if now := h.links(); now != linksOf(before) && fails == nil {
			t.Errorf("look %d, before:\n%s\nnow:\n%s", looks, linksOf(before), now)
		}
		if left := h.Layout.VM(web).Notes().Left(); left == nil || left.Phase != hostapi.PhaseUndo || left.Why == "" {
			t.Errorf("look %d: the note is %+v", looks, left)
		}
		switch looks {
		case 3:
			return errors.New("killed")
		case 5:
			free()
		}
		return nil
	}
	if err := g.stand(t.Context()); err == nil || len(h.entries("one")) > 0 {
		t.Fatalf("%v, %v", err, h.entries("one"))
	}
	again := h.guardian() // which remembers nothing
	again.pause = g.pause
	if err := again.stand(t.Context()); err != nil || looks < 5 {
		t.Fatalf("%v after %d looks", err, looks)
	}
	if after := h.contract(); after != before && fails == nil {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if got := len(h.Units.Starts); got != started+1 {
		t.Errorf("%d starts", got-started)
	}
	if got := h.entries("one"); len(got) != 1 || got[0].Settled != hostapi.SettledUndone || got[0].Down != (fails != nil) {
		t.Errorf("history: %+v", got)
	}
	h.wantNothingLeft()
}

// links is contract without what waits for the end of the deployment.
func (h *testHost) links() string { return linksOf(h.contract()) }

func linksOf(contract string) string {
	var kept []string
	for line := range strings.Lines(contract) {
		if !strings.Contains(line, "/.ferry-undo-") && !strings.Contains(line, "/before") && !strings.Contains(line, "/pending") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// The session itself undoes what has failed, also without space; the history follows.
func TestSessionUndoesOnAFullDisk(t *testing.T) {
	if !hosttest.SmallDisk(t) {
		return
	}
	h := twoRunners(t)
	before := h.contract()
	c := h.await(60)
	free := h.Fill()
	var f *hostapi.Failure
	err := c.ask(hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "the page is not there"}}, nil)
	if now := h.links(); now != linksOf(before) {
		t.Errorf("before:\n%s\nnow:\n%s", before, now)
	}
	if h.Link(web, "booted") != string(hosttest.RunnerA) || (err != nil && !errors.As(err, &f)) {
		t.Errorf("booted %s, %v", h.Link(web, "booted"), err)
	}
	starts := len(h.Units.Starts)
	free()
	c.leave()
	if err := h.guardian().stand(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.entries("one"); len(got) != 1 || len(h.Units.Starts) != starts {
		t.Errorf("history: %+v, %d more starts", got, len(h.Units.Starts)-starts)
	}
	h.wantNothingLeft()
}

// Somebody who stops a VM has the last word on it, also where there is no space to
// note how far its undo is, and whichever process goes on with that.
func TestStoppedOnAFullDiskItStaysStopped(t *testing.T) {
	if !hosttest.SmallDisk(t) {
		return
	}
	for name, undone := range map[string]bool{"before it is undone": false, "once it was": true} {
		t.Run(name, func(t *testing.T) {
			h := twoRunners(t)
			c := h.await(60)
			if !undone {
				c.leave()
				h.expire()
			}
			free := h.Fill()
			h.Units.Asked = func() error { h.Refill(); return nil }
			if undone {
				_ = c.ask(hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "the page is not there"}}, nil)
				c.leave()
			}
			h.Units.State.ActiveState, h.Units.State.SubState, h.Units.State.Result = "inactive", "dead", "success"
			starts := len(h.Units.Starts)
			for range 3 {
				again := h.guardian() // which remembers nothing
				if over, err := again.look(t.Context()); over {
					t.Fatalf("it is over without history: %v", err)
				}
			}
			if got := len(h.Units.Starts) - starts; got > 0 {
				t.Errorf("%d starts of what somebody has stopped", got)
			}
			if h.Link(web, "current") != string(hosttest.RunnerA) {
				t.Errorf("current is %s", h.Link(web, "current"))
			}
			h.Units.Asked = nil
			free()
			if err := h.guardian().stand(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(h.Units.Starts) - starts; got > 0 || len(h.entries("one")) != 1 {
				t.Errorf("%d starts, history %+v", got, h.entries("one"))
			}
			if e := h.lastEntry(); !strings.HasSuffix(e.Error, "the previous runner is current again, and the VM was not started") {
				t.Errorf("the history says %q", e.Error)
			}
			h.wantNothingLeft()
		})
	}
}

// Without space for what an undo needs nothing is changed in the first place.
func TestNoSpaceForTheWayBack(t *testing.T) {
	if !hosttest.SmallDisk(t) {
		return
	}
	h := twoRunners(t)
	before := h.contract()
	c := h.session()
	c.prepare(hosttest.RunnerB)
	free := h.Fill()
	starts := len(h.Units.Starts)
	err := c.ask(hostapi.Request{Commit: commitB(hostapi.Confirmation{})}, nil)
	if err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Errorf("got %v", err)
	}
	free()
	_ = c.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "failed", Error: "no space"}}, nil)
	c.leave()
	if after := h.contract(); after != before || len(h.Units.Starts) != starts {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.wantNothingLeft()
}

// A history entry that the disk takes only the beginning of is not there, and the
// next one is whole.
func TestHistoryOnAFullDisk(t *testing.T) {
	if !hosttest.SmallDisk(t) {
		return
	}
	h := newTestHost(t)
	history := h.Layout.VM(web).History()
	entry := func(id string) hostapi.HistoryEntry {
		return hostapi.HistoryEntry{Deployment: hostapi.Deployment{ID: id}, Outcome: "failed", Error: strings.Repeat("x", 6000)}
	}
	if err := history.Append(entry("a")); err != nil { // ends in the middle of a block
		t.Fatal(err)
	}
	free := h.Fill()
	path := filepath.Join(h.lib(), "history.jsonl")
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := history.Append(entry("b")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if now, err := os.Stat(path); err != nil || now.Size() != fi.Size() {
		t.Errorf("%d bytes of it are there, %v", now.Size()-fi.Size(), err)
	}
	free()
	if err := history.Append(entry("c")); err != nil {
		t.Fatal(err)
	}
	if len(h.entries("a")) != 1 || len(h.entries("b")) != 0 || len(h.entries("c")) != 1 {
		t.Error("entries are missing, or there are too many")
	}
}
