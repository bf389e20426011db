package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// withUnits is a test host whose unit directory is ferry's, with one VM.
func withUnits(t *testing.T) (*testHost, microvm.Name) {
	t.Helper()
	h := newTestHost(t)
	h.layout.Units = filepath.Join(h.layout.Root, "units")
	if err := os.MkdirAll(h.layout.Units, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.layout.vmTemplate(), []byte("[Unit]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(h.layout.StateDir, "web")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nix/store/"+strings.Repeat("a", 32)+"-runner", filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	return h, "web"
}

// What starts with the host is one link, and systemd hears of it.
// microvm-nix/microvm.nix#389
func TestAutostartIsOneLink(t *testing.T) {
	h, vm := withUnits(t)
	link := filepath.Join(h.layout.autostartDir(), "microvm@web.service")
	for _, c := range []struct {
		on, changed bool
		reloads     int
	}{{false, false, 0}, {true, true, 1}, {true, false, 1}, {false, true, 2}, {false, false, 2}} {
		got, err := h.server().Autostart(t.Context(), vm, c.on)
		if err != nil {
			t.Fatal(err)
		}
		if *got != (hostapi.Autostarted{VM: vm, On: c.on, Changed: c.changed}) || h.units.reloads != c.reloads {
			t.Errorf("on %v: %+v after %d reloads", c.on, *got, h.units.reloads)
		}
		if to, _ := os.Readlink(link); (to == h.layout.vmTemplate()) != c.on {
			t.Errorf("on %v: the link is %q", c.on, to)
		}
	}
	if _, err := os.Lstat(h.layout.autostartDir()); !os.IsNotExist(err) {
		t.Error("an empty directory is left")
	}
}

func TestAutostartRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *testHost) error
		want  string
	}{
		"no such VM": {func(h *testHost) error { return os.RemoveAll(h.layout.vmDir("web")) }, "there is no VM web"},
		"units of a NixOS configuration": {func(h *testHost) error {
			if err := os.Rename(h.layout.Units, h.layout.Units+"-static"); err != nil {
				return err
			}
			return os.Symlink(h.layout.Units+"-static", h.layout.Units)
		}, "not ferry's"},
		"unit that is a link": {func(h *testHost) error {
			if err := os.Rename(h.layout.vmTemplate(), h.layout.vmTemplate()+".of"); err != nil {
				return err
			}
			return os.Symlink(h.layout.vmTemplate()+".of", h.layout.vmTemplate())
		}, "not ferry's"},
		"a file in the link's place": {func(h *testHost) error {
			if err := os.Mkdir(h.layout.autostartDir(), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(h.layout.autostartDir(), "microvm@web.service"), nil, 0o644)
		}, "web"},
	} {
		t.Run(name, func(t *testing.T) {
			h, vm := withUnits(t)
			if err := c.spoil(h); err != nil {
				t.Fatal(err)
			}
			got, err := h.server().Autostart(t.Context(), vm, true)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v", got, err)
			}
			if h.units.reloads != 0 {
				t.Error("systemd was told of something")
			}
		})
	}
}
