package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/hostapi"
)

func TestReplaceLinkNeverFollows(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	if err := replaceLink(dir, "current", string(runnerA)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "flake")); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, "flake", []byte("github:example/infra"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(outside); string(b) != "mine" {
		t.Errorf("a planted link was followed: %q", b)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("files left: %v", entries)
	}
	// A directory in the way is nobody's to remove.
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replaceLink(dir, "old", string(runnerA)); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("files left after a failure: %v", entries)
	}
}

func TestLinksAreChecked(t *testing.T) {
	h := newTestHost(t)
	if err := os.Mkdir(h.layout.vmDir(web), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := h.layout.openVMDir(web)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.close()
	current := filepath.Join(h.layout.vmDir(web), "current")
	read := func() error { _, err := readRunnerLink(dir, "current"); return err }
	if err := read(); err != nil {
		t.Errorf("no link is no error: %v", err)
	}
	for _, target := range []string{"/etc/passwd", "current", "../../nix/store/x", "/nix/store/../../etc", string(runnerA) + "/bin"} {
		_ = os.Remove(current)
		if err := os.Symlink(target, current); err != nil {
			t.Fatal(err)
		}
		var f *hostapi.Failure
		if err := read(); !errors.As(err, &f) || f.Kind != hostapi.KindRefused {
			t.Errorf("a link to %s: %v", target, err)
		}
	}
	_ = os.Remove(current)
	if err := os.WriteFile(current, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := read(); err == nil {
		t.Error("a file passed for a link")
	}
}

// On a host whose state directory is root's, an entry that is not root's was
// put there by somebody who must not.
func TestForeignLinkIsNotTrusted(t *testing.T) {
	needRoot(t)
	h := newTestHost(t)
	if err := os.Mkdir(h.layout.vmDir(web), 0o755); err != nil {
		t.Fatal(err)
	}
	current := filepath.Join(h.layout.vmDir(web), "current")
	if err := os.Symlink(string(runnerA), current); err != nil {
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
	if err := os.Chown(h.layout.StateDir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestDeclaredVMsAreRefused(t *testing.T) {
	h := newTestHost(t)
	h.units.declared = "install-microvm-web.service"
	if _, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err == nil || !strings.Contains(err.Error(), "install-microvm-web.service") {
		t.Errorf("got %v", err)
	}
	h.units.declared = ""
	if err := os.MkdirAll(h.layout.vmDir(web), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(string(systemA), filepath.Join(h.layout.vmDir(web), "toplevel")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err == nil || !strings.Contains(err.Error(), "toplevel") {
		t.Errorf("got %v", err)
	}
}
