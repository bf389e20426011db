package host

import (
	"ferry/internal/host/hosttest"
	"ferry/internal/microvm"

	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// A deployment that cannot begin leaves an earlier one, which nobody has
// settled, as it was: its note and roots are what undoes it.
func TestFailedPrepareLeavesTheEarlierDeployment(t *testing.T) {
	locates := 0
	for name, spoil := range map[string]func(h *testHost){
		"the second look": func(h *testHost) {
			h.Units.Asked = func() error {
				if locates++; locates > 1 {
					return errors.New("systemd is gone")
				}
				return nil
			}
		},
		"keeping what the guest may run": func(h *testHost) {
			h.block(filepath.Join(h.Layout.VM(web).Roots().Path(), "interrupted"))
		},
		"settling it": func(h *testHost) {
			h.block(filepath.Join(h.lib(), "history.jsonl"))
		},
		"reading its note": func(h *testHost) {
			note := filepath.Join(h.lib(), "deployment.json")
			if err := os.WriteFile(note, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTestHost(t)
			h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
			h.Units.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "active", InvocationID: "i1"}
			c := h.session()
			c.prepare(hosttest.RunnerA)
			if err := c.ask(hostapi.Request{Activate: &hostapi.ActivateRequest{Name: web, Runner: hosttest.RunnerA}}, nil); err != nil {
				t.Fatal(err)
			}
			c.leave()
			locates = 0
			spoil(h)
			note := filepath.Join(h.lib(), "deployment.json")
			before, err := os.ReadFile(note)
			if err != nil {
				t.Fatal(err)
			}
			next := h.session()
			next.id = "two"
			if err := next.tryPrepare(hosttest.RunnerB); err == nil {
				t.Fatal("it began")
			}
			next.leave()
			if after, err := os.ReadFile(note); err != nil || string(after) != string(before) {
				t.Errorf("its note is %s, %v", after, err)
			}
			if got, _ := os.Readlink(filepath.Join(h.Layout.VM(web).Roots().Path(), "pending")); got != string(hosttest.RunnerA) {
				t.Errorf("its root is %q", got)
			}
			if held := h.Layout.VM(web).Lock().Holder(); held != nil {
				t.Errorf("the lock is still held: %+v", held)
			}
		})
	}
}

// Where no earlier deployment is left, one that cannot begin takes along what it
// has written itself, and the history says why.
func TestFailedPrepareLeavesNothingOfItsOwn(t *testing.T) {
	h := newTestHost(t)
	roots := h.Layout.VM(web).Roots().Path()
	if err := errors.Join(os.MkdirAll(filepath.Dir(roots), 0o755), os.Symlink("/nowhere/at/all", roots)); err != nil {
		t.Fatal(err)
	}
	c := h.session()
	err := c.tryPrepare(hosttest.RunnerB)
	if err == nil {
		t.Fatal("it began")
	}
	c.leave()
	if left, rerr := h.Layout.VM(web).Notes().Deployment(); !errors.Is(rerr, fs.ErrNotExist) {
		t.Errorf("a note is left: %+v, %v", left, rerr)
	}
	if e := h.lastEntry(); e.ID != "one" || e.Outcome != hostapi.OutcomeFailed || e.Error != err.Error() {
		t.Errorf("history: %+v, wanted %v", e, err)
	}
	next := h.session()
	next.id = "two"
	next.prepare(hosttest.RunnerB) // nobody holds the lock
	next.leave()
}

// block puts a directory, which nothing removes, in the place of a file or link.
func (h *testHost) block(path string) {
	h.T.Helper()
	if err := errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Join(path, "x"), 0o700)); err != nil {
		h.T.Fatal(err)
	}
}

func (c *client) tryPrepare(runner microvm.StorePath) error {
	return c.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{
		Name: web, Runner: runner, Derivations: []microvm.StorePath{drv(runner)},
		Deployment: hostapi.Deployment{ID: c.id, By: "ann@laptop", Started: time.Now()},
	}}, nil)
}
