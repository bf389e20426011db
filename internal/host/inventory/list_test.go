package inventory

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/vmstate"
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

func list(h *hosttest.Host, f *fakeLister) map[string]hostapi.Listed {
	h.T.Helper()
	l := &Lister{layout: h.Layout, units: f}
	vms, err := l.List(h.T.Context())
	if err != nil {
		h.T.Fatal(err)
	}
	if !slices.IsSortedFunc(vms, func(a, b hostapi.Listed) int { return strings.Compare(a.Name, b.Name) }) {
		h.T.Error("not sorted")
	}
	m := map[string]hostapi.Listed{}
	for _, v := range vms {
		m[v.Name] = v
	}
	return m
}

const web = hosttest.Web

func running() systemd.ListedUnit {
	return systemd.ListedUnit{LoadState: "loaded", ActiveState: "active", SubState: "running"}
}

func TestListStates(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 512M")
	both := func(current, booted microvm.StorePath) map[string]string {
		return map[string]string{"current": string(current), "booted": string(booted)}
	}
	h.MakeVM("up", both(hosttest.RunnerA, hosttest.RunnerA))
	h.MakeVM("stale", both(hosttest.RunnerB, hosttest.RunnerA))
	h.MakeVM("down", map[string]string{"current": string(hosttest.RunnerA)})
	h.MakeVM("broken", map[string]string{"current": string(hosttest.RunnerA)})
	h.MakeVM("looping", map[string]string{"current": string(hosttest.RunnerA)})
	h.MakeVM("tapless", map[string]string{"current": string(hosttest.RunnerA)})
	h.MakeVM("begins", map[string]string{"current": string(hosttest.RunnerA)})
	h.MakeVM("queued", map[string]string{"current": string(hosttest.RunnerA)})
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
	vms := list(h, f)
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
	if up.Fresh != hostapi.FreshCurrent || up.Running != hosttest.SystemA || up.CurrentSystem != hosttest.SystemA || vms["down"].Fresh != hostapi.FreshCurrent {
		t.Errorf("up: %+v", up)
	}
	if stale.Fresh != hostapi.FreshWaits || !slices.Contains(stale.Waits, "the system inside") || stale.Activation != hostapi.ActivateRestart || stale.Running != hosttest.SystemA {
		t.Errorf("stale: %+v", stale)
	}
}

// A VM that was switched live runs what is installed, until its unit starts anew;
// changed hardware waits all the same, and is named.
func TestListAfterLiveSwitch(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 768M")
	h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerB), "booted": string(hosttest.RunnerA)})
	mem := func(n int) *microvm.Record { return &microvm.Record{Name: web, Mem: &n} }
	for runner, record := range map[microvm.StorePath]*microvm.Record{hosttest.RunnerA: mem(512), hosttest.RunnerB: mem(768)} {
		if err := h.Layout.VM(web).Notes().PutRecord(runner, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Layout.VM(web).Guest().PutRunning(vmstate.Running{InvocationID: "now", System: hosttest.SystemB}); err != nil {
		t.Fatal(err)
	}
	f := &fakeLister{units: map[string]systemd.ListedUnit{"microvm@web.service": running()}, invocation: "now"}
	v := list(h, f)["web"]
	if v.Fresh != hostapi.FreshWaits || v.Running != hosttest.SystemB || !slices.Equal(v.Waits, []string{"memory 512 → 768 MiB"}) || v.Activation != hostapi.ActivateRestart {
		t.Errorf("after the switch: %+v", v)
	}
	f.invocation = "later"
	if v := list(h, f)["web"]; v.Running != hosttest.SystemA || !slices.Contains(v.Waits, "the system inside") {
		t.Errorf("after a start: %+v", v)
	}
}

// What NixOS refuses to switch to waits for a restart, and is named each time.
func TestListNamesSwitchInhibitors(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "")
	h.Write(string(hosttest.SystemA)+"/switch-inhibitors", `{"dbus-implementation": "dbus"}`)
	h.Write(string(hosttest.SystemB)+"/switch-inhibitors", `{"dbus-implementation": "broker"}`)
	h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerB), "booted": string(hosttest.RunnerA)})
	yes := true
	rec := &microvm.Record{Name: web, System: &microvm.Output{Out: hosttest.SystemB}, SSH: &yes, Shares: []microvm.Share{{Source: microvm.StoreDir}}}
	if err := h.Layout.VM(web).Notes().PutRecord(hosttest.RunnerB, rec); err != nil {
		t.Fatal(err)
	}
	v := list(h, &fakeLister{units: map[string]systemd.ListedUnit{"microvm@web.service": running()}})["web"]
	want := []string{"the system inside", "switch inhibitor dbus-implementation dbus → broker"}
	if v.Fresh != hostapi.FreshWaits || v.Activation != hostapi.ActivateRestart || !slices.Equal(v.Waits, want) {
		t.Errorf("got %+v", v)
	}
}

func TestListUnfinishedDeployments(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerA), "booted": string(hosttest.RunnerA)})
	f := &fakeLister{units: map[string]systemd.ListedUnit{"microvm@web.service": running()}}
	work := vmstate.Note{Deployment: hostapi.Deployment{ID: "one", By: "ann@laptop"}, Activating: true}
	if err := h.Layout.VM(web).Notes().PutDeployment(&work); err != nil {
		t.Fatal(err)
	}
	v := list(h, f)["web"]
	if v.State != hostapi.StateUnconfirmed || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], "ann@laptop") {
		t.Errorf("cut off: %+v", v)
	}
	for _, phase := range []hostapi.Phase{hostapi.PhaseUndo, hostapi.PhaseRestart} {
		work.Phase, work.LastError = phase, "no space left"
		if err := h.Layout.VM(web).Notes().PutDeployment(&work); err != nil {
			t.Fatal(err)
		}
		if v := list(h, f)["web"]; len(v.Problems) != 1 || !strings.HasSuffix(v.Problems[0], ": no space left") {
			t.Errorf("not settled, %s: %q", phase, v.Problems)
		}
	}
	lock, err := h.Layout.VM(web).Lock().Take(t.Context(), hostapi.Lock{By: "bob@laptop", Deployment: "two", Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if v := list(h, f)["web"]; v.State != hostapi.StateRunning || v.Lock == nil || v.Lock.By != "bob@laptop" {
		t.Errorf("under way: %+v", v)
	}
}

// Whatever lies in the state directory is listed with its reason.
func TestListOddEntries(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.MakeVM("good", map[string]string{"current": string(hosttest.RunnerA)})
	h.MakeVM("dangling", map[string]string{"current": string(hosttest.RunnerB)})
	h.MakeVM("foreign", map[string]string{"current": "/etc/passwd"})
	h.MakeVM("loop", map[string]string{"current": "current"})
	h.MakeVM("empty", nil)
	h.MakeVM("my vm", map[string]string{"current": string(hosttest.RunnerA)})
	h.MakeVM("a\x1b[31m", nil)
	dir := h.MakeVM("bin", map[string]string{"current": string(hosttest.RunnerA)})
	if err := os.WriteFile(filepath.Join(dir, "flake"), []byte("\x00\xff"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir = h.MakeVM("blank", map[string]string{"current": string(hosttest.RunnerA)})
	if err := os.WriteFile(filepath.Join(dir, "flake"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h.MakeVM("linked", map[string]string{"current": string(hosttest.RunnerA), "flake": "/etc/passwd"})
	if err := os.WriteFile(filepath.Join(h.Layout.StateDir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(h.Layout.StateDir, "link")); err != nil {
		t.Fatal(err)
	}
	vms := list(h, &fakeLister{})
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
	hosttest.NeedRoot(t)
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	dir := h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerA)})
	if err := os.WriteFile(filepath.Join(dir, "flake"), []byte("github:evil/flake"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(filepath.Join(dir, "flake"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if v := list(h, &fakeLister{})["web"]; v.Flake != "" || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], "uid 1000") {
		t.Errorf("planted flake: %+v", v)
	}
	// microvm.nix's layout gives everything to its user.
	if err := os.Lchown(h.Layout.StateDir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if v := list(h, &fakeLister{})["web"]; v.Flake != "github:evil/flake" || len(v.Problems) != 0 {
		t.Errorf("microvm.nix's layout: %+v", v)
	}
}

// Systemd is asked a bounded number of times, and no program is started
// (a Lister has none to start).
// microvm-nix/microvm.nix#58
func TestListAsksSystemdOnce(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	f := &fakeLister{units: map[string]systemd.ListedUnit{}, declared: "install"}
	const many = 50
	for i := range many {
		name := "vm" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		h.MakeVM(name, map[string]string{"current": string(hosttest.RunnerA), "booted": string(hosttest.RunnerA)})
		f.units["microvm@"+name+".service"] = running()
		if i%2 == 0 { // of a VM that was switched live, its unit is asked
			if err := h.Layout.VM(microvm.Name(name)).Guest().PutRunning(vmstate.Running{InvocationID: "x", System: hosttest.SystemA}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(list(h, f)) != many {
		t.Error("not all VMs are listed")
	}
	if f.calls > 2+many/2 {
		t.Errorf("%d calls of systemd for %d VMs", f.calls, many)
	}
	if len(h.Nix.Calls) > 0 {
		t.Errorf("Nix was called: %v", h.Nix.Calls)
	}
}

func TestListWithoutSystemd(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerA), "booted": string(hosttest.RunnerA)})
	vms, err := (&Lister{layout: h.Layout, noUnits: "systemd does not answer: no bus"}).List(t.Context())
	if err != nil || len(vms) != 1 || vms[0].State != hostapi.StateUnknown || vms[0].Fresh != hostapi.FreshCurrent || len(vms[0].Problems) != 1 {
		t.Errorf("%+v, %v", vms, err)
	}
	_ = os.RemoveAll(h.Layout.StateDir)
	if vms, err := (&Lister{layout: h.Layout, units: &fakeLister{}}).List(t.Context()); err != nil || len(vms) != 0 {
		t.Errorf("a host without VMs: %+v, %v", vms, err)
	}
	var refused *hostapi.Failure
	if _, err := (&Lister{layout: h.Layout, noUnits: "systemd does not answer"}).List(t.Context()); !errors.As(err, &refused) {
		t.Errorf("no host at all: %v", err)
	}
	if err := os.WriteFile(h.Layout.StateDir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Lister{layout: h.Layout, units: &fakeLister{}}).List(t.Context()); !errors.As(err, &refused) {
		t.Errorf("a state directory that is none: %v", err)
	}
}
