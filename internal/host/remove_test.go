package host

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/install"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
)

// Of a removed VM nothing is left, on disk or of its unit; other VMs and
// data that is to be kept are not touched.
// microvm-nix/microvm.nix#67, #181, #302, #508
func TestRemoveLeavesNothing(t *testing.T) {
	h := twoGenerations(t)
	_, err := h.machine().Remove(t.Context(), web, hostapi.Claim{By: "ann@laptop"}, false, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.Layout.StateDir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.Layout.GCRoots, "auto"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/root/result", filepath.Join(h.Layout.GCRoots, "auto/others")); err != nil {
		t.Fatal(err)
	}
	before := h.Everything()
	h.deploy(hosttest.RunnerA, hostapi.ActivateStart)
	h.deploy(hosttest.RunnerB, hostapi.ActivateRestart)
	if err := install.KeepRunning(t.Context(), h.Nix, h.Layout.VM(web).Guest(), vmstate.Running{System: hosttest.SystemB, InvocationID: h.Units.State.InvocationID}); err != nil {
		t.Fatal(err)
	}
	auto := filepath.Join(h.Layout.GCRoots, "auto")
	for name, target := range map[string]string{"1": h.Layout.VM(web).Profile().Path() + "-1-link", "2": filepath.Join(h.Layout.VM(web).Roots().Path(), "pending")} {
		if err := os.Symlink(target, filepath.Join(auto, name)); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(h.Layout.Root, "outside")
	h.Write("outside/precious", "")
	dir := h.Layout.VM(web).Path()
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "data.img"), make([]byte, 8192), 0o644), os.Mkdir(filepath.Join(dir, "share"), 0o755),
		os.Symlink(outside, filepath.Join(dir, "share/planted")), os.Symlink(outside, filepath.Join(dir, "link")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600), os.WriteFile(filepath.Join(dir, "flake"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	look, err := h.machine().LookRemove(t.Context(), web)
	if err != nil || !look.Running || look.Removed || len(look.Data) != 3 || look.Data[0].Name != "data.img" || look.Data[0].Bytes < 8192 {
		t.Fatalf("%+v, %v", look, err)
	}
	stops := h.Units.Stops
	r, err := h.machine().Remove(t.Context(), web, hostapi.Claim{By: "ann@laptop"}, false, quiet)
	if err != nil || !r.Removed || h.Units.Stops != stops+1 || !h.Units.Disabled {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Error("a link was followed")
	}
	if err := os.RemoveAll(outside); err != nil {
		t.Fatal(err)
	}
	if after := h.Everything(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := h.machine().Remove(t.Context(), web, hostapi.Claim{By: "ann@laptop"}, false, quiet); !hostapi.IsRefused(err) || h.Everything() != before {
		t.Errorf("a second time: %v", err)
	}
}
