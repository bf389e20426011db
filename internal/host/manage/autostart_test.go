package manage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// withUnits is a test host whose unit directory is ferry's, with one VM.
func withUnits(t *testing.T) (*hosttest.Host, microvm.Name) {
	t.Helper()
	h := hosttest.New(t)
	h.Layout.Units = filepath.Join(h.Layout.Root, "units")
	if err := os.MkdirAll(h.Layout.Units, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(template(h), []byte("[Unit]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(h.Layout.StateDir, "web")
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
	link := filepath.Join(wants(h), "microvm@web.service")
	for _, c := range []struct {
		on, changed bool
		reloads     int
	}{{false, false, 0}, {true, true, 1}, {true, false, 1}, {false, true, 2}, {false, false, 2}} {
		got, err := machine(h).Autostart(t.Context(), vm, c.on)
		if err != nil {
			t.Fatal(err)
		}
		if *got != (hostapi.Autostarted{VM: vm, On: c.on, Changed: c.changed}) || h.Units.Reloads != c.reloads {
			t.Errorf("on %v: %+v after %d reloads", c.on, *got, h.Units.Reloads)
		}
		if to, _ := os.Readlink(link); (to == template(h)) != c.on {
			t.Errorf("on %v: the link is %q", c.on, to)
		}
	}
	if _, err := os.Lstat(wants(h)); !os.IsNotExist(err) {
		t.Error("an empty directory is left")
	}
}

func TestAutostartRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *hosttest.Host) error
		want  string
	}{
		"no such VM": {func(h *hosttest.Host) error { return os.RemoveAll(h.Layout.VM("web").Path()) }, "there is no VM web"},
		"units of a NixOS configuration": {func(h *hosttest.Host) error {
			if err := os.Rename(h.Layout.Units, h.Layout.Units+"-static"); err != nil {
				return err
			}
			return os.Symlink(h.Layout.Units+"-static", h.Layout.Units)
		}, "not ferry's"},
		"unit that is a link": {func(h *hosttest.Host) error {
			if err := os.Rename(template(h), template(h)+".of"); err != nil {
				return err
			}
			return os.Symlink(template(h)+".of", template(h))
		}, "not ferry's"},
		"a file in the link's place": {func(h *hosttest.Host) error {
			if err := os.Mkdir(wants(h), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(wants(h), "microvm@web.service"), nil, 0o644)
		}, "web"},
	} {
		t.Run(name, func(t *testing.T) {
			h, vm := withUnits(t)
			if err := c.spoil(h); err != nil {
				t.Fatal(err)
			}
			got, err := machine(h).Autostart(t.Context(), vm, true)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v", got, err)
			}
			if h.Units.Reloads != 0 {
				t.Error("systemd was told of something")
			}
		})
	}
}
