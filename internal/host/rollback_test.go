package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// goBack is a rollback by restart, as the operator's side does it.
func (h *testHost) goBack(to int) error {
	h.t.Helper()
	c := h.session()
	defer c.leave()
	var target hostapi.RollbackTarget
	if err := c.ask(hostapi.Request{Rollback: &hostapi.RollbackRequest{Name: web, To: to}}, &target); err != nil {
		return err
	}
	err := c.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{
		Name: web, Runner: target.Generation.Runner,
		Deployment: hostapi.Deployment{ID: "back", By: "ann@laptop", Started: time.Now(), RollbackTo: target.Generation.Number, Target: "root@box"},
	}}, nil)
	if err != nil {
		return err
	}
	if err := c.ask(hostapi.Request{Commit: &hostapi.CommitRequest{
		Name: web, Runner: target.Generation.Runner, Install: true,
		Generation: target.Generation.Number, Activation: hostapi.ActivateRestart,
	}}, nil); err != nil {
		return err
	}
	return c.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "restarted"}}, nil)
}

func (h *testHost) wantGenerations(want string) {
	h.t.Helper()
	gens, err := h.server().Generations(h.t.Context(), web)
	if err != nil {
		h.t.Fatal(err)
	}
	var got []string
	for _, g := range gens {
		mark := ""
		if g.Current {
			mark += "c"
		}
		if g.Booted {
			mark += "b"
		}
		if g.Running {
			mark += "r"
		}
		got = append(got, fmt.Sprintf("%d%s", g.Number, mark))
	}
	if s := strings.Join(got, " "); s != want {
		h.t.Errorf("generations %q, wanted %q", s, want)
	}
}

// A rollback goes one back each time and keeps the numbers; a deployment of what
// is a later generation's goes there again instead of making a new one.
func TestRollbackGoesBackOneByOne(t *testing.T) {
	h := twoGenerations(t)
	h.makeRunner(runnerC, systemC, "-m 1G")
	h.deploy(runnerC, hostapi.ActivateRestart)
	h.wantGenerations("1 2 3cbr")
	if err := h.goBack(0); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2cbr 3")
	if h.link(web, "old") != string(runnerC) || h.link(web, "current") != string(runnerB) {
		t.Errorf("current %s, old %s", h.link(web, "current"), h.link(web, "old"))
	}
	if err := h.goBack(0); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1cbr 2 3")
	err := h.goBack(0)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.Kind != hostapi.KindRefused || !strings.Contains(f.Message, "before 1") || !strings.Contains(f.Hint, "1, 2, 3") {
		t.Errorf("before the first: %v", err)
	}
	if err := h.goBack(3); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2 3cbr")
	if err := h.goBack(7); !errors.As(err, &f) || f.Kind != hostapi.KindRefused {
		t.Errorf("generation 7: %v", err)
	}
	history, _ := h.layout.History(web, 1)
	if len(history.Entries) != 1 || history.Entries[0].RollbackTo != 3 {
		t.Errorf("history: %+v", history)
	}
	if target, _ := h.layout.RecordedTarget(web); target != "root@box" {
		t.Errorf("the recorded target is %q", target)
	}
}

// What is current may be none of the generations: then one goes back to what
// ferry installed last.
func TestRollbackFromWhatFerryDidNotInstall(t *testing.T) {
	h := twoGenerations(t)
	h.makeRunner(runnerC, systemC, "-m 1G")
	if err := replaceLink(h.layout.vmDir(web), "current", string(runnerC)); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2br")
	if err := h.goBack(0); err != nil {
		t.Fatal(err)
	}
	h.wantGenerations("1 2cbr")
	if err := os.RemoveAll(filepath.Dir(h.layout.profile(web))); err != nil {
		t.Fatal(err)
	}
	var f *hostapi.Failure
	if err := h.goBack(0); !errors.As(err, &f) || f.Kind != hostapi.KindRefused || !strings.Contains(f.Message, "no generations") {
		t.Errorf("without generations: %v", err)
	}
}

// A rollback that can't be committed leaves `current` as it was: the generation
// was collected meanwhile, say.
func TestRollbackToWhatIsGone(t *testing.T) {
	h := twoGenerations(t)
	c := h.session()
	c.prepare(runnerA)
	if err := os.Remove(h.layout.profile(web) + "-1-link"); err != nil {
		t.Fatal(err)
	}
	err := c.ask(hostapi.Request{Commit: &hostapi.CommitRequest{Name: web, Runner: runnerA, Install: true, Generation: 1, Activation: hostapi.ActivateRestart}}, nil)
	if err == nil || !strings.Contains(err.Error(), "not "+string(runnerA)) {
		t.Errorf("got %v", err)
	}
	c.leave()
	if h.link(web, "current") != string(runnerB) || h.layout.generation(web) != 2 || len(h.units.starts) != 2 {
		t.Errorf("current %s, generation %d, %d starts", h.link(web, "current"), h.layout.generation(web), len(h.units.starts))
	}
}

func TestDiff(t *testing.T) {
	h := twoGenerations(t)
	mem := func(mib int) *microvm.Record { return &microvm.Record{Name: web, Mem: &mib} }
	for runner, rec := range map[microvm.StorePath]*microvm.Record{runnerA: mem(512), runnerB: mem(768)} {
		if err := h.layout.writeNote(web, recordName(runner), rec); err != nil {
			t.Fatal(err)
		}
	}
	for _, numbers := range [][]int{nil, {1}, {1, 2}} {
		d, err := h.server().Diff(t.Context(), web, numbers...)
		if err != nil || d.From.Number != 1 || d.To.Number != 2 || d.Same || !d.ConfigurationOnly {
			t.Fatalf("%v: %+v, %v", numbers, d, err)
		}
		if len(d.Hardware) != 1 || d.Hardware[0] != "memory 512 → 768 MiB" {
			t.Errorf("%v: hardware %q", numbers, d.Hardware)
		}
	}
	if d, err := h.server().Diff(t.Context(), web, 2); err != nil || !d.Same {
		t.Errorf("with itself: %+v, %v", d, err)
	}
	if _, err := h.server().Diff(t.Context(), web, 9); !hostapi.IsRefused(err) {
		t.Errorf("with nothing: %v", err)
	}
}

// everything is all paths of the host but its store, with links' targets.
func (h *testHost) everything() string {
	h.t.Helper()
	var all []string
	err := filepath.WalkDir(h.layout.Root, func(p string, _ os.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(p, filepath.Join(h.layout.Root, "nix/")) {
			return err
		}
		target, _ := os.Readlink(p)
		all = append(all, p+" "+target)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// Of a removed VM nothing is left, on disk or of its unit; other VMs and
// data that is to be kept are not touched.
// microvm-nix/microvm.nix#67, #181, #302, #508
func TestRemoveLeavesNothing(t *testing.T) {
	h := twoGenerations(t)
	_, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: "ann@laptop"}, false, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.layout.StateDir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.layout.GCRoots, "auto"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/root/result", filepath.Join(h.layout.GCRoots, "auto/others")); err != nil {
		t.Fatal(err)
	}
	before := h.everything()
	h.deploy(runnerA, hostapi.ActivateStart)
	h.deploy(runnerB, hostapi.ActivateRestart)
	if err := h.server().rootRunning(t.Context(), web, runningNote{System: systemB, InvocationID: h.units.state.InvocationID}); err != nil {
		t.Fatal(err)
	}
	auto := filepath.Join(h.layout.GCRoots, "auto")
	for name, target := range map[string]string{"1": h.layout.profile(web) + "-1-link", "2": filepath.Join(h.layout.ferryRoots(web), "pending")} {
		if err := os.Symlink(target, filepath.Join(auto, name)); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(h.layout.Root, "outside")
	h.write("outside/precious", "")
	dir := h.layout.vmDir(web)
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "data.img"), make([]byte, 8192), 0o644), os.Mkdir(filepath.Join(dir, "share"), 0o755),
		os.Symlink(outside, filepath.Join(dir, "share/planted")), os.Symlink(outside, filepath.Join(dir, "link")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600), os.WriteFile(filepath.Join(dir, "flake"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	look, err := h.server().LookRemove(t.Context(), web)
	if err != nil || !look.Running || look.Removed || len(look.Data) != 3 || look.Data[0].Name != "data.img" || look.Data[0].Bytes < 8192 {
		t.Fatalf("%+v, %v", look, err)
	}
	stops := h.units.stops
	r, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: "ann@laptop"}, false, quiet)
	if err != nil || !r.Removed || h.units.stops != stops+1 || !h.units.disabled {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Error("a link was followed")
	}
	if err := os.RemoveAll(outside); err != nil {
		t.Fatal(err)
	}
	if after := h.everything(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: "ann@laptop"}, false, quiet); !hostapi.IsRefused(err) || h.everything() != before {
		t.Errorf("a second time: %v", err)
	}
}

func TestRemoveKeepsData(t *testing.T) {
	h := twoGenerations(t)
	volume := filepath.Join(h.layout.vmDir(web), "data.img")
	if err := os.WriteFile(volume, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: ""}, true, quiet); err != nil || !r.Kept {
		t.Fatalf("%+v, %v", r, err)
	}
	if b, err := os.ReadFile(volume); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if entries, _ := os.ReadDir(h.layout.vmDir(web)); len(entries) != 1 {
		t.Errorf("left in the directory: %v", entries)
	}
	if left := h.layout.leftovers(web); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// What is left is found by the next removal, and by the next deployment.
	h.deploy(runnerA, hostapi.ActivateStart)
	if _, err := os.Stat(volume); err != nil {
		t.Error("the volume is gone")
	}
}

// A removal that stopped half-way is finished by the next; so is what somebody
// left who deleted only the directory.
func TestRemoveWhatIsHalfGone(t *testing.T) {
	h := twoGenerations(t)
	if err := os.RemoveAll(h.layout.vmDir(web)); err != nil {
		t.Fatal(err)
	}
	if r, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); err != nil || !r.Removed {
		t.Fatalf("%+v, %v", r, err)
	}
	if left := h.layout.leftovers(web); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRemoveRefuses(t *testing.T) {
	h := twoGenerations(t)
	before := h.everything()
	deployment := h.session()
	deployment.prepare(runnerA)
	var f *hostapi.Failure
	if _, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); !errors.As(err, &f) || f.Kind != hostapi.KindLocked {
		t.Errorf("during a deployment: %v", err)
	}
	deployment.leave()
	h.units.declared = "install-microvm-web.service"
	if _, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); !hostapi.IsRefused(err) {
		t.Errorf("a declared VM: %v", err)
	}
	h.units.declared = ""
	h.units.fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "it does not stop"}
	if _, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); err == nil {
		t.Error("removed though the VM did not stop")
	}
	if after := h.everything(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// What is mounted in a VM's directory is somebody's data: it is not deleted.
func TestRemoveSparesMounts(t *testing.T) {
	h := twoGenerations(t)
	at := filepath.Join(h.layout.vmDir(web), "with space")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", at, "tmpfs", 0, ""); err != nil {
		t.Skipf("needs root: to mount something: %v", err)
	}
	defer func() { _ = syscall.Unmount(at, 0) }()
	if err := os.WriteFile(filepath.Join(at, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := h.server().Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet)
	if !hostapi.IsRefused(err) || !strings.Contains(err.Error(), at) || h.units.stops != 0 {
		t.Errorf("got %v, %d stops", err, h.units.stops)
	}
	if _, err := os.Stat(filepath.Join(at, "precious")); err != nil {
		t.Error(err)
	}
}

// A lock that waits for one whose file was removed meanwhile is worth something.
func TestLockOutlivesRemoval(t *testing.T) {
	h := newTestHost(t)
	first, err := h.layout.lockVM(t.Context(), web, hostapi.Lock{By: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(h.layout.lockFile(web)); err != nil {
		t.Fatal(err)
	}
	second, err := h.layout.lockVM(t.Context(), web, hostapi.Lock{By: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	first.release()
	if held := h.layout.lockHolder(web); held == nil || held.By != "bob" {
		t.Errorf("the lock is held by %+v", held)
	}
	if _, err := h.layout.lockVM(t.Context(), web, hostapi.Lock{By: "eve"}); err == nil {
		t.Error("locked twice")
	}
	second.release()
}

const (
	runnerC = microvm.StorePath("/nix/store/cccccccccccccccccccccccccccccccc-microvm-qemu-web")
	systemC = microvm.StorePath("/nix/store/ccccccccccccccccccccccccccccccc3-nixos-system-web")
)
