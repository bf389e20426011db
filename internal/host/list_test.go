package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

// fakeLister is a systemd that counts how often it is asked.
type fakeLister struct {
	units      map[string]systemd.ListedUnit
	invocation string
	declared   string
	calls      int
}

func (f *fakeLister) Unit(context.Context, string) (systemd.Unit, error) {
	f.calls++
	return systemd.Unit{UnitState: hostapi.UnitState{LoadState: "loaded", InvocationID: f.invocation}}, nil
}

func (f *fakeLister) DeclaredBy(context.Context, microvm.Name) (string, error) {
	f.calls++
	return f.declared, nil
}

func (f *fakeLister) List(context.Context, ...string) (map[string]systemd.ListedUnit, error) {
	f.calls++
	return f.units, nil
}

func (f *fakeLister) Close() {}

func (h *testHost) list(f *fakeLister) map[string]hostapi.Listed {
	h.t.Helper()
	l := &Lister{layout: h.layout, units: f}
	vms, err := l.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	if !slices.IsSortedFunc(vms, func(a, b hostapi.Listed) int { return strings.Compare(a.Name, b.Name) }) {
		h.t.Error("not sorted")
	}
	m := map[string]hostapi.Listed{}
	for _, v := range vms {
		m[v.Name] = v
	}
	return m
}

// vm makes a VM's directory with links; a target without /nix/store is taken as
// it is.
func (h *testHost) vm(name string, links map[string]string) string {
	h.t.Helper()
	dir := filepath.Join(h.layout.StateDir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	for link, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			h.t.Fatal(err)
		}
	}
	return dir
}

func running() systemd.ListedUnit {
	return systemd.ListedUnit{LoadState: "loaded", ActiveState: "active", SubState: "running"}
}

func TestListStates(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "-m 512M")
	h.makeRunner(runnerB, systemB, "-m 512M")
	both := func(current, booted microvm.StorePath) map[string]string {
		return map[string]string{"current": string(current), "booted": string(booted)}
	}
	h.vm("up", both(runnerA, runnerA))
	h.vm("stale", both(runnerB, runnerA))
	h.vm("down", map[string]string{"current": string(runnerA)})
	h.vm("broken", map[string]string{"current": string(runnerA)})
	h.vm("looping", map[string]string{"current": string(runnerA)})
	h.vm("tapless", map[string]string{"current": string(runnerA)})
	h.vm("begins", map[string]string{"current": string(runnerA)})
	h.vm("queued", map[string]string{"current": string(runnerA)})
	f := &fakeLister{units: map[string]systemd.ListedUnit{
		"microvm@up.service":      running(),
		"microvm@stale.service":   running(),
		"microvm@broken.service":  {LoadState: "loaded", ActiveState: "failed", SubState: "failed"},
		"microvm@looping.service": {LoadState: "loaded", ActiveState: "activating", SubState: "auto-restart"},
		"microvm@begins.service":  {LoadState: "loaded", ActiveState: "activating", SubState: "start-post"},
		"microvm@queued.service":  {LoadState: "loaded", ActiveState: "inactive", SubState: "dead", Job: "start"},
		"microvm@tapless.service": {LoadState: "loaded", ActiveState: "inactive", SubState: "dead"},

		"microvm-tap-interfaces@tapless.service": {LoadState: "loaded", ActiveState: "failed"},
	}}
	vms := h.list(f)
	for name, want := range map[string]hostapi.State{
		"up": hostapi.StateRunning, "stale": hostapi.StateRunning, "down": hostapi.StateStopped, "broken": hostapi.StateFailed, "looping": hostapi.StateFailed,
		"begins": hostapi.StateStarting, "queued": hostapi.StateStarting, "tapless": hostapi.StateFailed,
	} {
		if vms[name].State != want {
			t.Errorf("%s is %s, wanted %s", name, vms[name].State, want)
		}
	}
	if p := vms["tapless"].Problems; len(p) != 1 || !strings.Contains(p[0], "microvm-tap-interfaces@tapless.service") {
		t.Errorf("the helper is not named: %q", p)
	}
	up, stale := vms["up"], vms["stale"]
	if up.Fresh != hostapi.FreshCurrent || up.Running != systemA || up.CurrentSystem != systemA || vms["down"].Fresh != hostapi.FreshCurrent {
		t.Errorf("up: %+v", up)
	}
	if stale.Fresh != hostapi.FreshWaits || !slices.Contains(stale.Waits, "the system inside") || stale.Activation != hostapi.ActivateRestart || stale.Running != systemA {
		t.Errorf("stale: %+v", stale)
	}
}

// A VM that was switched live runs what is installed, until its unit starts anew;
// changed hardware waits all the same, and is named.
func TestListAfterLiveSwitch(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "-m 512M")
	h.makeRunner(runnerB, systemB, "-m 768M")
	h.vm("web", map[string]string{"current": string(runnerB), "booted": string(runnerA)})
	mem := func(n int) *microvm.Record { return &microvm.Record{Name: web, Mem: &n} }
	for runner, record := range map[microvm.StorePath]*microvm.Record{runnerA: mem(512), runnerB: mem(768)} {
		if err := h.layout.writeNote(web, recordName(runner), record); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.layout.writeNote(web, noteRunning, runningNote{InvocationID: "now", System: systemB}); err != nil {
		t.Fatal(err)
	}
	f := &fakeLister{units: map[string]systemd.ListedUnit{"microvm@web.service": running()}, invocation: "now"}
	v := h.list(f)["web"]
	if v.Fresh != hostapi.FreshWaits || v.Running != systemB || !slices.Equal(v.Waits, []string{"memory 512 → 768 MiB"}) || v.Activation != hostapi.ActivateRestart {
		t.Errorf("after the switch: %+v", v)
	}
	f.invocation = "later"
	if v := h.list(f)["web"]; v.Running != systemA || !slices.Contains(v.Waits, "the system inside") {
		t.Errorf("after a start: %+v", v)
	}
}

func TestListUnfinishedDeployments(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "")
	h.vm("web", map[string]string{"current": string(runnerA), "booted": string(runnerA)})
	f := &fakeLister{units: map[string]systemd.ListedUnit{"microvm@web.service": running()}}
	work := unfinished{Deployment: hostapi.Deployment{ID: "one", By: "ann@laptop"}, Activating: true}
	if err := h.layout.writeNote(web, noteDeployment, work); err != nil {
		t.Fatal(err)
	}
	v := h.list(f)["web"]
	if v.State != hostapi.StateUnconfirmed || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], "ann@laptop") {
		t.Errorf("cut off: %+v", v)
	}
	lock, err := h.layout.lockVM(t.Context(), web, hostapi.Lock{By: "bob@laptop", Deployment: "two", Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.release()
	if v := h.list(f)["web"]; v.State != hostapi.StateRunning || v.Lock == nil || v.Lock.By != "bob@laptop" {
		t.Errorf("under way: %+v", v)
	}
}

// Whatever lies in the state directory is listed with its reason.
func TestListOddEntries(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "")
	h.vm("good", map[string]string{"current": string(runnerA)})
	h.vm("dangling", map[string]string{"current": string(runnerB)})
	h.vm("foreign", map[string]string{"current": "/etc/passwd"})
	h.vm("loop", map[string]string{"current": "current"})
	h.vm("empty", nil)
	h.vm("my vm", map[string]string{"current": string(runnerA)})
	h.vm("a\x1b[31m", nil)
	dir := h.vm("bin", map[string]string{"current": string(runnerA)})
	if err := os.WriteFile(filepath.Join(dir, "flake"), []byte("\x00\xff"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir = h.vm("blank", map[string]string{"current": string(runnerA)})
	if err := os.WriteFile(filepath.Join(dir, "flake"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h.vm("linked", map[string]string{"current": string(runnerA), "flake": "/etc/passwd"})
	if err := os.WriteFile(filepath.Join(h.layout.StateDir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(h.layout.StateDir, "link")); err != nil {
		t.Fatal(err)
	}
	vms := h.list(&fakeLister{})
	if len(vms) != 12 {
		t.Errorf("%d entries", len(vms))
	}
	for name, want := range map[string]string{
		"dangling": "gone from the store", "foreign": "not a store path", "loop": "not a store path", "empty": "not a VM",
		"my vm": "ferry manages no VM of this name", "bin": "not text", "blank": "it is empty", "linked": "not a regular file",
		"file": "not a directory", "link": "not a directory", "a\x1b[31m": "ferry manages no VM",
	} {
		if p := strings.Join(vms[name].Problems, "; "); !strings.Contains(p, want) {
			t.Errorf("%q: %q, wanted %q", name, p, want)
		}
	}
	if p := vms["good"].Problems; len(p) > 0 {
		t.Errorf("good: %q", p)
	}
	for _, name := range []string{"empty", "file", "link"} {
		if vms[name].State != hostapi.StateNoVM {
			t.Errorf("%s is %s", name, vms[name].State)
		}
	}
}

// Entries that the VM's user could have put there count only where root's do
// not: on hosts that ferry set up.
func TestListDistrustsTheVMsUser(t *testing.T) {
	needRoot(t)
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "")
	dir := h.vm("web", map[string]string{"current": string(runnerA)})
	if err := os.WriteFile(filepath.Join(dir, "flake"), []byte("github:evil/flake"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(filepath.Join(dir, "flake"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if v := h.list(&fakeLister{})["web"]; v.Flake != "" || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], "uid 1000") {
		t.Errorf("planted flake: %+v", v)
	}
	// microvm.nix's layout gives everything to its user.
	if err := os.Lchown(h.layout.StateDir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if v := h.list(&fakeLister{})["web"]; v.Flake != "github:evil/flake" || len(v.Problems) != 0 {
		t.Errorf("microvm.nix's layout: %+v", v)
	}
}

// Systemd is asked a bounded number of times, and no program is started
// (a Lister has none to start).
// microvm-nix/microvm.nix#58
func TestListAsksSystemdOnce(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "")
	f := &fakeLister{units: map[string]systemd.ListedUnit{}, declared: "install"}
	const many = 50
	for i := range many {
		name := "vm" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		h.vm(name, map[string]string{"current": string(runnerA), "booted": string(runnerA)})
		f.units["microvm@"+name+".service"] = running()
		if i%2 == 0 { // of a VM that was switched live, its unit is asked
			if err := h.layout.writeNote(microvm.Name(name), noteRunning, runningNote{InvocationID: "x", System: systemA}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(h.list(f)) != many {
		t.Error("not all VMs are listed")
	}
	if f.calls > 2+many/2 {
		t.Errorf("%d calls of systemd for %d VMs", f.calls, many)
	}
	if len(h.nix.calls) > 0 {
		t.Errorf("Nix was called: %v", h.nix.calls)
	}
}

func TestListWithoutSystemd(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "")
	h.vm("web", map[string]string{"current": string(runnerA), "booted": string(runnerA)})
	vms, err := (&Lister{layout: h.layout, noUnits: "systemd does not answer: no bus"}).List(t.Context())
	if err != nil || len(vms) != 1 || vms[0].State != hostapi.StateUnknown || vms[0].Fresh != hostapi.FreshCurrent || len(vms[0].Problems) != 1 {
		t.Errorf("%+v, %v", vms, err)
	}
	_ = os.RemoveAll(h.layout.StateDir)
	if vms, err := (&Lister{layout: h.layout, units: &fakeLister{}}).List(t.Context()); err != nil || len(vms) != 0 {
		t.Errorf("a host without VMs: %+v, %v", vms, err)
	}
	var refused *hostapi.Failure
	if _, err := (&Lister{layout: h.layout, noUnits: "systemd does not answer"}).List(t.Context()); !errors.As(err, &refused) {
		t.Errorf("no host at all: %v", err)
	}
	if err := os.WriteFile(h.layout.StateDir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Lister{layout: h.layout, units: &fakeLister{}}).List(t.Context()); !errors.As(err, &refused) {
		t.Errorf("a state directory that is none: %v", err)
	}
}

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		record microvm.Record
		want   hostapi.Freshness
	}{
		"same":              {microvm.Record{Runner: microvm.Output{Out: runnerA}}, hostapi.FreshCurrent},
		"other":             {microvm.Record{Runner: microvm.Output{Out: runnerB}}, hostapi.FreshOutdated},
		"content-addressed": {microvm.Record{System: &microvm.Output{Out: systemA}}, hostapi.FreshCurrent},
		"its system":        {microvm.Record{System: &microvm.Output{Out: systemB}}, hostapi.FreshOutdated},
	} {
		v := hostapi.Listed{Current: runnerA, CurrentSystem: systemA, Fresh: hostapi.FreshCurrent}
		if v.Compare(c.record); v.Fresh != c.want {
			t.Errorf("%s: %s", name, v.Fresh)
		}
	}
}

func FuzzParseFlakeFile(f *testing.F) {
	for _, seed := range []string{"", "\n", "github:a/b", "github:a/b\n", "git+file:///etc/nixos", "\x00", "a\nb", "-x", "a#b", "\xff", "a b", "\u202e"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		ref, err := ParseFlakeFile(content)
		if err != nil {
			return
		}
		if ref == "" || ref[0] == '-' || strings.ContainsAny(ref, "#\n\r\x00\x1b ") || len(ref) > maxFlakeFile {
			t.Errorf("%q became %q", content, ref)
		}
		if again, err := ParseFlakeFile([]byte(ref)); err != nil || again != ref {
			t.Errorf("%q read again is %q, %v", ref, again, err)
		}
	})
}
