package host

import (
	"ferry/internal/host/hosttest"
	"ferry/internal/host/vmstate"
	"ferry/internal/microvm"

	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/hostapi"
)

func (h *testHost) update(req UpdateRequest) (*Updated, error) {
	req.Deployment = hostapi.Deployment{ID: "local", By: "root@host", Action: hostapi.ActionBoot}
	return h.server().Update(h.T.Context(), req, NewAnswers(io.Discard))
}

func recordOf(runner microvm.StorePath) microvm.Record {
	return microvm.Record{Name: web, Runner: microvm.Output{Drv: drv(runner), Out: runner}}
}

func TestUpdateCreatesAndUpdates(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 768M")
	if err := os.Mkdir(h.Layout.VM(web).Path(), 0o755); err != nil { // what a killed creation leaves
		t.Fatal(err)
	}
	done, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerA), Create: true, Flake: "git+file:///etc/nixos"})
	if err != nil {
		t.Fatal(err)
	}
	if done.Generation != 1 || done.Activated != hostapi.ActivateNone || h.Link(web, "current") != string(hosttest.RunnerA) {
		t.Errorf("created: %+v", done)
	}
	if b, _ := os.ReadFile(filepath.Join(h.Layout.VM(web).Path(), "flake")); string(b) != "git+file:///etc/nixos" {
		t.Errorf("flake is %q", b)
	}
	for _, root := range []string{"web", "booted-web"} {
		if _, err := os.Readlink(filepath.Join(h.Layout.MicrovmRoots(), root)); err != nil {
			t.Error(err)
		}
	}
	var exists *hostapi.Failure
	if _, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerB), Create: true}); !errors.As(err, &exists) || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("created twice: %v", err)
	}

	// -R starts what does not run, leaves alone what runs it already, and
	// restarts what changed.
	for i, want := range []hostapi.Activation{hostapi.ActivateStart, hostapi.ActivateNone} {
		if done, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerA), Restart: true}); err != nil || done.Activated != want {
			t.Errorf("restart %d: %+v, %v", i, done, err)
		}
	}
	done, err = h.update(UpdateRequest{Record: recordOf(hosttest.RunnerB)})
	if err != nil || done.Activated != hostapi.ActivateNone || !done.Plan.Install || !done.Running {
		t.Fatalf("updated: %+v, %v", done, err)
	}
	if h.Link(web, "booted") != string(hosttest.RunnerA) || h.Link(web, "old") != string(hosttest.RunnerA) {
		t.Error("what runs was touched")
	}
	if done, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerB), Restart: true}); err != nil || done.Activated != hostapi.ActivateRestart || done.Plan.Install {
		t.Errorf("restarted: %+v, %v", done, err)
	}
	history, _ := os.ReadFile(filepath.Join(h.lib(), "history.jsonl"))
	var outcomes []string
	for line := range strings.Lines(string(history)) {
		_, rest, _ := strings.Cut(line, `"outcome":"`)
		word, _, _ := strings.Cut(rest, `"`)
		outcomes = append(outcomes, word)
	}
	if got := strings.Join(outcomes, " "); got != "installed started unchanged installed restarted" {
		t.Errorf("the history says %q", got)
	}
}

// A build that fails leaves nothing of a VM that was to be created.
func TestFailedCreateLeavesNothing(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.Nix.Building = func(context.Context) error { return errors.New("no such thing") }
	if _, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerA), Create: true, Flake: "x:y"}); err == nil {
		t.Fatal("the build did not fail")
	}
	for _, path := range []string{h.Layout.VM(web).Path(), filepath.Join(h.Layout.MicrovmRoots(), "web"), h.Layout.VM(web).Profile().Path()} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if entries, _ := os.ReadDir(h.Layout.VM(web).Roots().Path()); len(entries) > 0 {
		t.Errorf("roots are left: %v", entries)
	}
	if h.Layout.VM(web).Lock().Holder() != nil {
		t.Error("the lock is left")
	}

	// Neither where somebody pressed Ctrl-C during the build.
	ctx, interrupt := context.WithCancel(t.Context())
	h.Nix.Building = func(ctx context.Context) error { interrupt(); <-ctx.Done(); return ctx.Err() }
	req := UpdateRequest{Record: recordOf(hosttest.RunnerA), Create: true, Flake: "x:y", Deployment: hostapi.Deployment{ID: "two", By: "root@host"}}
	if _, err := h.server().Update(ctx, req, NewAnswers(io.Discard)); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := os.Lstat(h.Layout.VM(web).Path()); err == nil || h.Layout.VM(web).Lock().Holder() != nil {
		t.Error("an interrupted creation left something")
	}
	history, _ := os.ReadFile(filepath.Join(h.lib(), "history.jsonl"))
	if !strings.Contains(string(history), `"outcome":"failed"`) || !strings.Contains(string(history), `"outcome":"interrupted"`) {
		t.Errorf("the history says %s", history)
	}
}

func TestUpdateRefuses(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	if _, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerA), Create: true}); err != nil {
		t.Fatal(err)
	}
	h.MakeVM("old-web2", nil)
	colliding := recordOf(hosttest.RunnerA)
	colliding.Name = "web2"
	if _, err := h.update(UpdateRequest{Record: colliding, Create: true}); err == nil || !strings.Contains(err.Error(), "collides") {
		t.Errorf("got %v", err)
	}
	// A guest whose switch was cut off: what it runs must stay rooted.
	h.Units.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "active"}
	if err := h.Layout.VM(web).Notes().PutDeployment(&vmstate.Note{Deployment: hostapi.Deployment{ID: "one"}, Activating: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerA)}); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("got %v", err)
	}
	h.Units.Declared = "install-microvm-web.service"
	if _, err := h.update(UpdateRequest{Record: recordOf(hosttest.RunnerA)}); err == nil || !strings.Contains(err.Error(), "declared") {
		t.Errorf("got %v", err)
	}
}

func TestUpdateFlake(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	read := func() (string, error) { return h.server().UpdateFlake(t.Context(), web) }
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "no VM web") {
		t.Errorf("got %v", err)
	}
	dir := h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerA)})
	if ref, err := read(); ref != "" || err != nil {
		t.Errorf("without a file: %q, %v", ref, err)
	}
	for content, want := range map[string]string{"github:a/b": "github:a/b", "github:a/b\n": "github:a/b"} {
		if err := os.WriteFile(filepath.Join(dir, "flake"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if ref, err := read(); ref != want || err != nil {
			t.Errorf("%q: %q, %v", content, ref, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "flake"), []byte{0, 1}, 0o644); err != nil {
		t.Fatal(err)
	}
	var f *hostapi.Failure
	if _, err := read(); !errors.As(err, &f) || f.Hint == "" {
		t.Errorf("a binary file: %v", err)
	}
}
