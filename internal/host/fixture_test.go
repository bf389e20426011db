package host

import (
	"context"
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

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/systemd"
)

const (
	runnerA = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")
	runnerB = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-qemu-web")
	systemA = microvm.StorePath("/nix/store/1111111111111111111111111111111a-nixos-system-web")
	systemB = microvm.StorePath("/nix/store/2222222222222222222222222222222b-nixos-system-web")
)

// testHost is a host in a directory: a store with hand-made runners, and fakes
// of systemd and Nix, whose real parts the e2e tests show.
type testHost struct {
	t      *testing.T
	layout Layout
	units  *fakeUnits
	nix    *fakeNix
}

func newTestHost(t *testing.T) *testHost {
	t.Helper()
	dir := t.TempDir()
	group, err := user.LookupGroupId(strconv.Itoa(os.Getegid()))
	if err != nil {
		t.Skipf("needs a group with a name, to give VM directories to: %v", err)
	}
	h := &testHost{t: t, layout: Layout{
		StateDir: filepath.Join(dir, "microvms"), GCRoots: filepath.Join(dir, "gcroots"),
		Profiles: filepath.Join(dir, "profiles"), Lib: filepath.Join(dir, "lib"), Root: dir,
		Owner: os.Geteuid(), Group: group.Name,
	}}
	for _, d := range []string{h.layout.StateDir, h.layout.GCRoots, h.layout.Profiles, filepath.Join(dir, "nix/store")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.units = &fakeUnits{host: h, state: hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}}
	h.nix = &fakeNix{host: h}
	return h
}

func (h *testHost) server() *Server { return &Server{layout: h.layout, units: h.units, nix: h.nix} }

func (h *testHost) write(path, content string) {
	h.t.Helper()
	full := filepath.Join(h.layout.Root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

// makeRunner puts a runner into the store whose hypervisor gets args.
func (h *testHost) makeRunner(p, system microvm.StorePath, args string) {
	h.t.Helper()
	h.write(string(p)+"/bin/microvm-run", fmt.Sprintf("exec qemu %s -append \"init=%s/init regInfo=/nix/store/%032d-closure-info/registration\"\n", args, system, len(system)))
	h.write(string(system)+"/bin/switch-to-configuration", "#!/bin/sh\n")
	h.write(string(system)+"/etc/hostname", "web\n")
	link := filepath.Join(h.layout.Root, string(p), "share/microvm/system")
	_ = os.MkdirAll(filepath.Dir(link), 0o755)
	if err := os.Symlink(string(system), link); err != nil && !os.IsExist(err) {
		h.t.Fatal(err)
	}
}

// link is where a link of the VM's directory points; empty where there is none.
func (h *testHost) link(vm microvm.Name, name string) string {
	target, _ := os.Readlink(filepath.Join(h.layout.vmDir(vm), name))
	return target
}

type fakeUnits struct {
	host     *testHost
	state    hostapi.UnitState
	declared string
	fail     error // of all starts
	failOnce error // of the next start
	starts   []hostapi.Activation
	stops    int
	disabled bool
	reloads  int
	guards   []string
	asked    func() error // before each look at a unit
}

func (f *fakeUnits) Unit(context.Context, string) (systemd.Unit, error) {
	if f.asked != nil {
		if err := f.asked(); err != nil {
			return systemd.Unit{}, err
		}
	}
	return systemd.Unit{UnitState: f.state}, nil
}

func (f *fakeUnits) DeclaredBy(context.Context, microvm.Name) (string, error) { return f.declared, nil }

func (f *fakeUnits) Run(_ context.Context, n microvm.Name, how hostapi.Activation, _ func(string)) (hostapi.UnitState, error) {
	f.starts = append(f.starts, how)
	if err := f.failOnce; err != nil {
		f.failOnce = nil
		f.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "failed", SubState: "failed"}
		return hostapi.UnitState{}, err
	}
	if f.fail != nil {
		f.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "failed", SubState: "failed"}
		return hostapi.UnitState{}, f.fail
	}
	dir := f.host.layout.vmDir(n)
	_ = os.Remove(filepath.Join(dir, "booted"))
	_ = os.Symlink(f.host.link(n, "current"), filepath.Join(dir, "booted"))
	f.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", InvocationID: fmt.Sprintf("%032d", len(f.starts))}
	return f.state, nil
}

func (f *fakeUnits) Stop(_ context.Context, n microvm.Name, log func(string)) (hostapi.UnitState, error) {
	f.stops++
	if f.fail != nil {
		return hostapi.UnitState{}, f.fail
	}
	last := f.state
	_ = os.Remove(filepath.Join(f.host.layout.vmDir(n), "booted"))
	f.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}
	return last, nil
}

func (f *fakeUnits) Reload(context.Context) error { f.reloads++; return nil }

func (f *fakeUnits) Disable(context.Context, microvm.Name) error {
	f.disabled = true
	return nil
}

func (f *fakeUnits) Transient(_ context.Context, u systemd.TransientUnit) error {
	f.guards = append(f.guards, u.Name)
	return nil
}

func (f *fakeUnits) Failure(_ context.Context, _ microvm.Name, _ time.Time, message string) *hostapi.Failure {
	return &hostapi.Failure{Kind: hostapi.KindUnit, Message: message}
}

func (f *fakeUnits) Close() {}

// fakeNix builds what the store has already, and notes what it was asked.
type fakeNix struct {
	host      *testHost
	calls     []string
	building  func(ctx context.Context) error
	missing   []microvm.StorePath
	fetched   error // of a download
	signers   []string
	evaluated []byte // what Eval yields
	// registration is what DumpRegistration writes.
	registration string
}

func (f *fakeNix) Version(context.Context) (nix.Version, error) { return nix.OldestVersion(), nil }

func (f *fakeNix) Missing(context.Context, []microvm.StorePath) ([]microvm.StorePath, error) {
	return f.missing, nil
}

func (f *fakeNix) Substitute(context.Context, []microvm.StorePath) error {
	f.calls = append(f.calls, "substitute")
	return nil
}

func (f *fakeNix) Eval(_ context.Context, r nix.EvalRequest) ([]byte, error) {
	f.calls = append(f.calls, "eval "+r.Installable)
	return f.evaluated, nil
}

func (f *fakeNix) Build(ctx context.Context, link string, drvs ...microvm.StorePath) ([]microvm.StorePath, error) {
	f.calls = append(f.calls, "build")
	if f.building != nil {
		if err := f.building(ctx); err != nil {
			return nil, err
		}
	}
	out := microvm.StorePath(strings.TrimSuffix(string(drvs[0]), ".drv"))
	return []microvm.StorePath{out}, f.AddRoot(ctx, link, out)
}

func (f *fakeNix) Fetch(_ context.Context, r nix.FetchRequest) error {
	f.calls = append(f.calls, "fetch "+string(r.Path)+" from "+r.Cache)
	return f.fetched
}

func (f *fakeNix) Signers(context.Context, string, microvm.StorePath) ([]string, error) {
	return f.signers, nil
}

func (f *fakeNix) TrustedKeys(context.Context) ([]string, error) { return []string{"ours-1"}, nil }

func (f *fakeNix) AddRoot(_ context.Context, link string, p microvm.StorePath) error {
	f.calls = append(f.calls, "root "+filepath.Base(link))
	_ = os.Remove(link)
	return os.Symlink(string(p), link)
}

func (f *fakeNix) SetProfile(_ context.Context, profile string, p microvm.StorePath) error {
	f.calls = append(f.calls, "profile")
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

func (f *fakeNix) SwitchGeneration(_ context.Context, profile string, n int) error {
	f.calls = append(f.calls, "switch-generation")
	if _, err := os.Lstat(fmt.Sprintf("%s-%d-link", profile, n)); err != nil {
		return err
	}
	_ = os.Remove(profile)
	return os.Symlink(fmt.Sprintf("runner-%d-link", n), profile)
}

func (f *fakeNix) DiffClosures(context.Context, microvm.StorePath, microvm.StorePath) ([]string, error) {
	f.calls = append(f.calls, "diff")
	return nil, nil
}

func (f *fakeNix) DumpRegistration(_ context.Context, w io.Writer, p microvm.StorePath) error {
	_, err := io.WriteString(w, f.registration)
	return err
}

func (f *fakeNix) did(call string) bool { return slices.Contains(f.calls, call) }
