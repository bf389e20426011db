// Package hosttest is a host in a directory, for tests: a store with hand-made
// runners, and fakes of systemd and Nix, whose real parts the lab shows.
package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/systemd"
)

// A VM, and runners of it with the systems in them.
const (
	Web = microvm.Name("web")

	RunnerA = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")
	RunnerB = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-qemu-web")
	RunnerC = microvm.StorePath("/nix/store/cccccccccccccccccccccccccccccccc-microvm-qemu-web")
	RunnerD = microvm.StorePath("/nix/store/dddddddddddddddddddddddddddddddd-microvm-qemu-web")
	SystemA = microvm.StorePath("/nix/store/1111111111111111111111111111111a-nixos-system-web")
	SystemB = microvm.StorePath("/nix/store/2222222222222222222222222222222b-nixos-system-web")
	SystemC = microvm.StorePath("/nix/store/ccccccccccccccccccccccccccccccc3-nixos-system-web")
)

// Host is such a host.
type Host struct {
	T      *testing.T
	Layout vmstate.Layout
	Units  *Units
	Nix    *Nix
}

// New is a host without a VM.
func New(t *testing.T) *Host {
	t.Helper()
	dir := t.TempDir()
	group, err := user.LookupGroupId(strconv.Itoa(os.Getegid()))
	if err != nil {
		t.Skipf("needs a group with a name, to give VM directories to: %v", err)
	}
	h := &Host{T: t, Layout: vmstate.Layout{
		StateDir: filepath.Join(dir, "microvms"), GCRoots: filepath.Join(dir, "gcroots"),
		Profiles: filepath.Join(dir, "profiles"), Lib: filepath.Join(dir, "lib"), Root: dir,
		Owner: os.Geteuid(), Group: group.Name,
	}}
	for _, d := range []string{h.Layout.StateDir, h.Layout.GCRoots, h.Layout.Profiles, filepath.Join(dir, "nix/store")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.Units = &Units{host: h, State: hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}}
	h.Nix = &Nix{host: h}
	return h
}

// Write puts a file into the host.
func (h *Host) Write(path, content string) {
	h.T.Helper()
	full := filepath.Join(h.Layout.Root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		h.T.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
		h.T.Fatal(err)
	}
}

// MakeRunner puts a runner into the store whose hypervisor gets args.
func (h *Host) MakeRunner(p, system microvm.StorePath, args string) {
	h.T.Helper()
	h.Write(string(p)+"/bin/microvm-run", fmt.Sprintf("exec qemu %s -append \"init=%s/init regInfo=/nix/store/%032d-closure-info/registration\"\n", args, system, len(system)))
	h.Write(string(system)+"/bin/switch-to-configuration", "#!/bin/sh\n")
	h.Write(string(system)+"/etc/hostname", "web\n")
	link := filepath.Join(h.Layout.Root, string(p), "share/microvm/system")
	_ = os.MkdirAll(filepath.Dir(link), 0o755)
	if err := os.Symlink(string(system), link); err != nil && !os.IsExist(err) {
		h.T.Fatal(err)
	}
}

// Link is where a link of the VM's directory points; empty where there is none.
func (h *Host) Link(vm microvm.Name, name string) string {
	target, _ := os.Readlink(filepath.Join(h.Layout.VM(vm).Path(), name))
	return target
}

// Units is a systemd whose units start at once.
type Units struct {
	host     *Host
	State    hostapi.UnitState
	Declared string
	Fail     error // of all starts
	FailOnce error // of the next start
	Starts   []hostapi.Activation
	Stops    int
	Disabled bool
	Reloads  int
	Guards   []string
	Program  string       // of the last transient unit
	Asked    func() error // before each look at a unit
}

func (f *Units) Unit(context.Context, string) (systemd.Unit, error) {
	if f.Asked != nil {
		if err := f.Asked(); err != nil {
			return systemd.Unit{}, err
		}
	}
	return systemd.Unit{UnitState: f.State}, nil
}

func (f *Units) DeclaredBy(context.Context, microvm.Name) (string, error) { return f.Declared, nil }

func (f *Units) Run(_ context.Context, n microvm.Name, how hostapi.Activation, _ func(string)) (hostapi.UnitState, error) {
	f.Starts = append(f.Starts, how)
	if err := f.FailOnce; err != nil {
		f.FailOnce = nil
		f.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "failed", SubState: "failed"}
		return hostapi.UnitState{}, err
	}
	if f.Fail != nil {
		f.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "failed", SubState: "failed"}
		return hostapi.UnitState{}, f.Fail
	}
	dir := f.host.Layout.VM(n).Path()
	_ = os.Remove(filepath.Join(dir, "booted"))
	_ = os.Symlink(f.host.Link(n, "current"), filepath.Join(dir, "booted"))
	f.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", InvocationID: fmt.Sprintf("%032d", len(f.Starts))}
	return f.State, nil
}

func (f *Units) Stop(_ context.Context, n microvm.Name, log func(string)) (hostapi.UnitState, error) {
	f.Stops++
	if f.Fail != nil {
		return hostapi.UnitState{}, f.Fail
	}
	last := f.State
	_ = os.Remove(filepath.Join(f.host.Layout.VM(n).Path(), "booted"))
	f.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}
	return last, nil
}

func (f *Units) Reload(context.Context) error { f.Reloads++; return nil }

func (f *Units) Disable(context.Context, microvm.Name) error {
	f.Disabled = true
	return nil
}

func (f *Units) Transient(_ context.Context, u systemd.TransientUnit) error {
	f.Guards = append(f.Guards, u.Name)
	f.Program = u.Argv[0]
	return nil
}

func (f *Units) Failure(_ context.Context, _ microvm.Name, _ time.Time, message string) *hostapi.Failure {
	return &hostapi.Failure{Kind: hostapi.KindUnit, Message: message}
}

func (f *Units) Close() {}

// Nix builds what the store has already, and notes what it was asked.
type Nix struct {
	host       *Host
	Calls      []string
	Building   func(ctx context.Context) error
	Lacks      []microvm.StorePath
	Profiling  func() // before a generation is made
	FetchError error  // of a download
	SignedBy   []string
	Evaluated  []byte // what Eval yields
	// Registration is what DumpRegistration writes.
	Registration string
}

func (f *Nix) Version(context.Context) (nix.Version, error) { return nix.OldestVersion(), nil }

func (f *Nix) Missing(context.Context, []microvm.StorePath) ([]microvm.StorePath, error) {
	return f.Lacks, nil
}

func (f *Nix) Substitute(context.Context, []microvm.StorePath) error {
	f.Calls = append(f.Calls, "substitute")
	return nil
}

func (f *Nix) Eval(_ context.Context, r nix.EvalRequest) ([]byte, error) {
	f.Calls = append(f.Calls, "eval "+r.Installable)
	return f.Evaluated, nil
}

func (f *Nix) Build(ctx context.Context, link string, drvs ...microvm.StorePath) ([]microvm.StorePath, error) {
	f.Calls = append(f.Calls, "build")
	if f.Building != nil {
		if err := f.Building(ctx); err != nil {
			return nil, err
		}
	}
	out := microvm.StorePath(strings.TrimSuffix(string(drvs[0]), ".drv"))
	return []microvm.StorePath{out}, f.AddRoot(ctx, link, out)
}

func (f *Nix) Fetch(_ context.Context, r nix.FetchRequest) error {
	f.Calls = append(f.Calls, "fetch "+string(r.Path)+" from "+r.Cache)
	return f.FetchError
}

func (f *Nix) Signers(context.Context, string, microvm.StorePath) ([]string, error) {
	return f.SignedBy, nil
}

func (f *Nix) TrustedKeys(context.Context) ([]string, error) { return []string{"ours-1"}, nil }

func (f *Nix) AddFile(_ context.Context, name string, _ []byte) (microvm.StorePath, error) {
	f.Calls = append(f.Calls, "add "+name)
	return microvm.StorePath(microvm.StoreDir + "/" + strings.Repeat("0", 32) + "-" + name), nil
}

func (f *Nix) AddRoot(_ context.Context, link string, p microvm.StorePath) error {
	f.Calls = append(f.Calls, "root "+filepath.Base(link))
	_ = os.Remove(link)
	return os.Symlink(string(p), link)
}

func (f *Nix) AddRoots(ctx context.Context, link string, paths []microvm.StorePath) error {
	for i, p := range paths {
		if slices.Contains(f.Lacks, p) {
			return fmt.Errorf("path '%s' is not valid", p)
		}
		name := link
		if i > 0 {
			name = fmt.Sprintf("%s-%d", link, i+1)
		}
		if err := f.AddRoot(ctx, name, p); err != nil {
			return err
		}
	}
	return nil
}

func (f *Nix) SetProfile(_ context.Context, profile string, p microvm.StorePath) error {
	f.Calls = append(f.Calls, "profile")
	if f.Profiling != nil {
		f.Profiling()
	}
	n := 1
	for ; ; n++ {
		if _, err := os.Lstat(fmt.Sprintf("%s-%d-link", profile, n)); err != nil {
			break
		}
	}
	if err := os.Symlink(string(p), fmt.Sprintf("%s-%d-link", profile, n)); err != nil {
		return err
	}
	_ = os.Remove(profile)
	return os.Symlink(fmt.Sprintf("runner-%d-link", n), profile)
}

func (f *Nix) SwitchGeneration(_ context.Context, profile string, n int) error {
	f.Calls = append(f.Calls, "switch-generation")
	if _, err := os.Lstat(fmt.Sprintf("%s-%d-link", profile, n)); err != nil {
		return err
	}
	_ = os.Remove(profile)
	return os.Symlink(fmt.Sprintf("runner-%d-link", n), profile)
}

func (f *Nix) DiffClosures(context.Context, microvm.StorePath, microvm.StorePath) ([]string, error) {
	f.Calls = append(f.Calls, "diff")
	return nil, nil
}

func (f *Nix) DumpRegistration(_ context.Context, w io.Writer, p microvm.StorePath) error {
	_, err := io.WriteString(w, f.Registration)
	return err
}

// Did reports whether it was asked for that.
func (f *Nix) Did(call string) bool { return slices.Contains(f.Calls, call) }

// MakeVM makes a VM's directory with links.
func (h *Host) MakeVM(name string, links map[string]string) string {
	h.T.Helper()
	dir := filepath.Join(h.Layout.StateDir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.T.Fatal(err)
	}
	for link, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			h.T.Fatal(err)
		}
	}
	return dir
}

// Deploy leaves what a deployment of a runner leaves, which starts or restarts
// the VM.
func (h *Host) Deploy(runner microvm.StorePath, how hostapi.Activation) {
	h.T.Helper()
	ctx, vm := h.T.Context(), h.Layout.VM(Web)
	lock, err := vm.Lock().Take(ctx, hostapi.Lock{By: "ann@laptop"})
	if err != nil {
		h.T.Fatal(err)
	}
	defer lock.Release()
	previous := microvm.StorePath(h.Link(Web, "current"))
	if err := errors.Join(vm.Make(), vm.Profile().Make(), h.Nix.SetProfile(ctx, vm.Profile().Path(), runner)); err != nil {
		h.T.Fatal(err)
	}
	if previous != "" {
		if err := vm.PutLink("old", previous); err != nil {
			h.T.Fatal(err)
		}
	}
	if err := vm.PutLink("current", runner); err != nil {
		h.T.Fatal(err)
	}
	if _, err := h.Units.Run(ctx, Web, how, nil); err != nil {
		h.T.Fatal(err)
	}
	entry := hostapi.HistoryEntry{Deployment: hostapi.Deployment{ID: "earlier", By: "ann@laptop"}, Outcome: hostapi.OutcomeStarted, Runner: runner}
	if err := vm.History().Append(entry); err != nil {
		h.T.Fatal(err)
	}
}

// Collect is nix-collect-garbage -d: generations that do not count go, then what no
// root keeps of the runners.
func (h *Host) Collect(vm microvm.Name) {
	h.T.Helper()
	profile := h.Layout.VM(vm).Profile()
	gens, err := profile.Generations()
	if err != nil {
		h.T.Fatal(err)
	}
	for _, g := range gens {
		if g.Number != profile.Current() {
			_ = os.Remove(fmt.Sprintf("%s-%d-link", profile.Path(), g.Number))
		}
	}
	kept := map[string]bool{}
	for _, dir := range []string{h.Layout.GCRoots, h.Layout.Profiles} {
		err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
			for target, lerr := os.Readlink(p); lerr == nil; target, lerr = os.Readlink(target) {
				kept[target] = true
			}
			return err
		})
		if err != nil {
			h.T.Fatal(err)
		}
	}
	for _, p := range []microvm.StorePath{RunnerA, RunnerB, RunnerC, RunnerD} {
		if !kept[string(p)] {
			if err := os.RemoveAll(filepath.Join(h.Layout.Root, string(p))); err != nil {
				h.T.Fatal(err)
			}
		}
	}
}

// Everything is all paths of the host but its store, with links' targets.
func (h *Host) Everything() string {
	h.T.Helper()
	var all []string
	err := filepath.WalkDir(h.Layout.Root, func(p string, _ os.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(p, filepath.Join(h.Layout.Root, "nix/")) {
			return err
		}
		target, _ := os.Readlink(p)
		all = append(all, p+" "+target)
		return nil
	})
	if err != nil {
		h.T.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// NeedRoot skips a test that gives files to somebody else.
func NeedRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give files to somebody else")
	}
}
