package manage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
)

func TestRemoveKeepsData(t *testing.T) {
	h := twoGenerations(t)
	volume := filepath.Join(h.Layout.VM(web).Path(), "data.img")
	if err := os.WriteFile(volume, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := machine(h).Remove(t.Context(), web, hostapi.Claim{By: ""}, true, quiet); err != nil || !r.Kept {
		t.Fatalf("%+v, %v", r, err)
	}
	if b, err := os.ReadFile(volume); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if entries, _ := os.ReadDir(h.Layout.VM(web).Path()); len(entries) != 1 {
		t.Errorf("left in the directory: %v", entries)
	}
	if left := h.Layout.VM(web).Leftovers(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// What is left is found by the next removal, and by the next deployment.
	h.Deploy(hosttest.RunnerA, hostapi.ActivateStart)
	if _, err := os.Stat(volume); err != nil {
		t.Error("the volume is gone")
	}
}

// A removal that stopped half-way is finished by the next; so is what somebody
// left who deleted only the directory.
func TestRemoveWhatIsHalfGone(t *testing.T) {
	h := twoGenerations(t)
	if err := os.RemoveAll(h.Layout.VM(web).Path()); err != nil {
		t.Fatal(err)
	}
	if r, err := machine(h).Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); err != nil || !r.Removed {
		t.Fatalf("%+v, %v", r, err)
	}
	if left := h.Layout.VM(web).Leftovers(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRemoveRefuses(t *testing.T) {
	h := twoGenerations(t)
	before := h.Everything()
	deployment, err := h.Layout.VM(web).Lock().Take(t.Context(), hostapi.Lock{By: "ann@laptop", Deployment: "one"})
	if err != nil {
		t.Fatal(err)
	}
	var f *hostapi.Failure
	if _, err := machine(h).Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); !errors.As(err, &f) || f.Kind != hostapi.KindLocked {
		t.Errorf("during a deployment: %v", err)
	}
	deployment.Release()
	h.Units.Declared = "install-microvm-web.service"
	if _, err := machine(h).Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); !hostapi.IsRefused(err) {
		t.Errorf("a declared VM: %v", err)
	}
	h.Units.Declared = ""
	h.Units.Fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "it does not stop"}
	if _, err := machine(h).Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet); err == nil {
		t.Error("removed though the VM did not stop")
	}
	if after := h.Everything(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// What is mounted in a VM's directory is somebody's data: it is not deleted.
func TestRemoveSparesMounts(t *testing.T) {
	h := twoGenerations(t)
	at := filepath.Join(h.Layout.VM(web).Path(), "with space")
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
	_, err := machine(h).Remove(t.Context(), web, hostapi.Claim{By: ""}, false, quiet)
	if !hostapi.IsRefused(err) || !strings.Contains(err.Error(), at) || h.Units.Stops != 0 {
		t.Errorf("got %v, %d stops", err, h.Units.Stops)
	}
	if _, err := os.Stat(filepath.Join(at, "precious")); err != nil {
		t.Error(err)
	}
}
