package host

import (
	"ferry/internal/host/hosttest"
	"ferry/internal/microvm"

	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/hostapi"
)

// A runner that was built elsewhere is only checked and rooted.
func TestArrivedRunner(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	c := h.session()
	defer c.leave()
	if err := c.ask(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Built: hosttest.RunnerA}}, nil); err == nil {
		t.Error("taken in without the lock")
	}
	c.prepare(hosttest.RunnerA)
	for _, bad := range []microvm.StorePath{hosttest.RunnerB, drv(hosttest.RunnerA), "/etc", "/nix/store/../etc"} {
		if err := c.ask(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Built: bad}}, nil); err == nil {
			t.Errorf("%s was taken in", bad)
		}
	}
	h.Nix.Lacks = []microvm.StorePath{hosttest.RunnerA}
	if err := c.ask(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Built: hosttest.RunnerA}}, nil); err == nil || !strings.Contains(err.Error(), "is not in the host's store") {
		t.Error(err)
	}
	h.Nix.Lacks = nil
	var built hostapi.Built
	if err := c.ask(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Built: hosttest.RunnerA}}, &built); err != nil || built.Runner != hosttest.RunnerA {
		t.Fatal(built, err)
	}
	if !slices.Contains(h.Nix.Calls, "root pending") || slices.Contains(h.Nix.Calls, "build") {
		t.Errorf("%q", h.Nix.Calls)
	}
}

// A path without bin/microvm-run is no runner, however it came.
func TestArrivedPathIsNoRunner(t *testing.T) {
	h := newTestHost(t)
	h.Write(string(hosttest.RunnerA)+"/README", "no runner\n")
	c := h.session()
	defer c.leave()
	c.prepare(hosttest.RunnerA)
	if err := c.ask(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Built: hosttest.RunnerA}}, nil); err == nil {
		t.Error("taken in")
	}
}

func TestMissingSubstitutesFirst(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	defer c.leave()
	h.Nix.Lacks = []microvm.StorePath{hosttest.RunnerA}
	for substitute, want := range map[bool]bool{false: false, true: true} {
		h.Nix.Calls = nil
		var missing []microvm.StorePath
		err := c.ask(hostapi.Request{Missing: &hostapi.MissingRequest{Paths: []microvm.StorePath{hosttest.RunnerA}, Substitute: substitute}}, &missing)
		if err != nil || !slices.Equal(missing, h.Nix.Lacks) || slices.Contains(h.Nix.Calls, "substitute") != want {
			t.Errorf("%v: %q, %v, calls %q", substitute, missing, err, h.Nix.Calls)
		}
	}
}

// An evaluation here takes a flake in the store, and roots what came out.
func TestEvaluate(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	const flake = "path:/nix/store/00000000000000000000000000000000-source"
	req := hostapi.EvaluateRequest{Name: web, Flake: flake + "?rev=a", Expression: "x: x", Locks: []byte(`{"nodes":{}}`)}
	if err := c.ask(hostapi.Request{Evaluate: &req}, nil); err == nil {
		t.Error("evaluated without the lock")
	}
	err := c.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{Name: web, Deployment: hostapi.Deployment{ID: c.id}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"/nix/store/00000000000000000000000000000000-source", "path:/etc", "path:" + flake, "github:a/b", ""} {
		r := req
		r.Flake = bad
		var f *hostapi.Failure
		if err := c.ask(hostapi.Request{Evaluate: &r}, nil); !errors.As(err, &f) || f.Kind != hostapi.KindRefused {
			t.Errorf("%q: %v", bad, err)
		}
	}
	h.Nix.Evaluated = []byte(`{"vms":{"web":{"record":{"name":"web","runner":{"drv":"` + string(drv(hosttest.RunnerA)) + `"}}}}}`)
	var said hostapi.Evaluated
	if err := c.ask(hostapi.Request{Evaluate: &req}, &said); err != nil || string(said.Output) != string(h.Nix.Evaluated) {
		t.Fatal(said, err)
	}
	if !slices.Contains(h.Nix.Calls, "eval "+flake+"?rev=a#.") {
		t.Errorf("%q", h.Nix.Calls)
	}
	root := filepath.Join(h.Layout.VM(web).Roots().Path(), "pending-drv-evaluated")
	if got, _ := os.Readlink(root); got != string(drv(hosttest.RunnerA)) {
		t.Errorf("rooted is %q", got)
	}
	c.leave()
	if _, err := os.Lstat(root); err == nil {
		t.Error("the root is left")
	}
}
