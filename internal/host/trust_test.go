package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
)

// On a host whose state directory is root's, an entry that is not root's was
// put there by somebody who must not.
func TestForeignLinkIsNotTrusted(t *testing.T) {
	hosttest.NeedRoot(t)
	h := newTestHost(t)
	if err := os.Mkdir(h.Layout.VM(web).Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	current := filepath.Join(h.Layout.VM(web).Path(), "current")
	if err := os.Symlink(string(hosttest.RunnerA), current); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(current, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	_, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web})
	if err == nil || !strings.Contains(err.Error(), "uid 12345") {
		t.Errorf("got %v", err)
	}
	// As microvm.nix lays hosts out, ownership says nothing.
	if err := os.Chown(h.Layout.StateDir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestDeclaredVMsAreRefused(t *testing.T) {
	h := newTestHost(t)
	h.Units.Declared = "install-microvm-web.service"
	if _, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err == nil || !strings.Contains(err.Error(), "install-microvm-web.service") {
		t.Errorf("got %v", err)
	}
	h.Units.Declared = ""
	if err := os.MkdirAll(h.Layout.VM(web).Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(string(hosttest.SystemA), filepath.Join(h.Layout.VM(web).Path(), "toplevel")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err == nil || !strings.Contains(err.Error(), "toplevel") {
		t.Errorf("got %v", err)
	}
}
