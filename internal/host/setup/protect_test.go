package setup

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const otherUser = "nobody"

// given is a host as microvm.nix's units and command lay it out: everything is the
// VMs' user's.
func given(t *testing.T) (*Protector, machine) {
	t.Helper()
	m := bare(t)
	p := &Protector{Setup: m.Setup, Log: func(string) {}, owner: otherUser}
	uid, _, err := p.user()
	if err != nil {
		t.Fatal(err)
	}
	web := stateDir + "/web"
	for _, name := range []string{"current", "old", "booted"} {
		m.link(web+"/"+name, runnerA, uid)
	}
	m.put(web+"/flake", "git+https://flake\n")
	m.put(web+"/volume.img", "data")
	m.put(stateDir+"/lost+found/x", "no VM")
	for _, path := range []string{"", "/web", "/web/flake", "/web/volume.img", "/lost+found"} {
		if err := os.Chown(m.path(stateDir+path), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{stateDir, web} {
		if err := os.Chmod(m.path(path), 0o775); err != nil {
			t.Fatal(err)
		}
	}
	return p, m
}

func (m machine) uid(path string) int {
	m.t.Helper()
	fi, err := os.Lstat(m.path(path))
	if err != nil {
		m.t.Fatal(err)
	}
	return int(fi.Sys().(*syscall.Stat_t).Uid)
}

func (m machine) mode(path string) fs.FileMode {
	m.t.Helper()
	fi, err := os.Lstat(m.path(path))
	if err != nil {
		m.t.Fatal(err)
	}
	return fi.Mode() &^ fs.ModeDir
}

// What microvm.nix has given to the VMs' user is taken over once, and given back.
func TestProtectAndBack(t *testing.T) {
	p, m := given(t)
	web := stateDir + "/web"
	if err := p.Protect(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "/web", "/web/current", "/web/old", "/web/booted", "/web/flake"} {
		if got := m.uid(stateDir + path); got != 0 {
			t.Errorf("%s belongs to %d", path, got)
		}
	}
	if m.mode(stateDir) != 0o755 || m.mode(web) != 0o775|fs.ModeSticky {
		t.Errorf("modes %v and %v", m.mode(stateDir), m.mode(web))
	}
	if m.uid(web+"/volume.img") == 0 || m.uid(stateDir+"/lost+found") == 0 {
		t.Error("what isn't ferry's was taken as well")
	}
	if err := m.refused(); err != nil {
		t.Errorf("ferry doesn't use it: %v", err)
	}
	after := m.tree()
	if err := p.Protect(); err != nil || m.tree() != after {
		t.Errorf("a second run changed something: %v", err)
	}

	if err := p.Unprotect(); err != nil {
		t.Fatal(err)
	}
	uid, _, _ := p.user()
	for _, path := range []string{"", "/web", "/web/booted"} {
		if got := m.uid(stateDir + path); got != uid {
			t.Errorf("%s belongs to %d again", path, got)
		}
	}
	if m.mode(stateDir) != 0o775 || m.mode(web) != 0o775 {
		t.Errorf("modes %v and %v", m.mode(stateDir), m.mode(web))
	}
	if m.has(protectedPath) {
		t.Error("it counts as protected")
	}
	again := m.tree()
	if err := p.Unprotect(); err != nil || m.tree() != again {
		t.Errorf("nothing to undo: %v", err)
	}
}

// A VM that was made meanwhile, as root's, starts after the undo, too: the unit's
// user can replace `booted`.
func TestUnprotectGivesBootedOfNewVMs(t *testing.T) {
	p, m := given(t)
	if err := p.Protect(); err != nil {
		t.Fatal(err)
	}
	m.link(stateDir+"/new/current", runnerA, 0)
	m.link(stateDir+"/new/booted", runnerA, 0)
	if err := p.Unprotect(); err != nil {
		t.Fatal(err)
	}
	uid, _, _ := p.user()
	if m.uid(stateDir+"/new/booted") != uid || m.uid(stateDir+"/new") != 0 {
		t.Error("`booted` can't be replaced, or the directory was given away")
	}
}

// A directory that is root's in one of microvm's was not protected: it could be
// renamed, and `booted` is the VM user's.
func TestProtectTakesOverDirectoriesOfFerry(t *testing.T) {
	p, m := given(t)
	uid, _, _ := p.user()
	web := m.path(stateDir + "/web")
	// As tmpfiles may have left the directory above, before the first run.
	if err := errors.Join(os.Chown(web, 0, 0), os.Chmod(web, 0o775|fs.ModeSticky), os.Chown(m.path(stateDir), 0, 0), os.Chmod(m.path(stateDir), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := p.Protect(); err != nil {
		t.Fatal(err)
	}
	if m.uid(stateDir+"/web/booted") != 0 {
		t.Error("`booted` is not root's")
	}
	if err := p.Unprotect(); err != nil {
		t.Fatal(err)
	}
	if m.uid(stateDir) != uid || m.uid(stateDir+"/web/booted") != uid || m.uid(stateDir+"/web") != 0 {
		t.Error("it was not given back")
	}
}

// What somebody plants in a protected directory is not made root's by a later run.
func TestProtectTakesNothingPlanted(t *testing.T) {
	p, m := given(t)
	if err := os.Remove(m.path(stateDir + "/web/old")); err != nil {
		t.Fatal(err)
	}
	if err := p.Protect(); err != nil {
		t.Fatal(err)
	}
	uid, _, _ := p.user()
	m.link(stateDir+"/web/old", planted, uid)
	if err := p.Protect(); err != nil {
		t.Fatal(err)
	}
	if m.uid(stateDir+"/web/old") != uid {
		t.Error("a planted link is root's")
	}
}

// What can't be a VM's own entry is not taken over, is named, and doesn't keep
// other VMs from it.
func TestProtectNamesWhatItCannotTake(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		at   string
	}{
		"a link elsewhere":       {func(p string) error { return os.Symlink("/etc/shadow", p) }, "old"},
		"a directory":            {func(p string) error { return os.Mkdir(p, 0o755) }, "old"},
		"a pipe":                 {func(p string) error { return syscall.Mkfifo(p, 0o644) }, "flake"},
		"a link for the flake":   {func(p string) error { return os.Symlink("/etc/shadow", p) }, "flake"},
		"a flake with an option": {func(p string) error { return os.WriteFile(p, []byte("--option x"), 0o644) }, "flake"},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := given(t)
			uid, _, _ := p.user()
			m.link(stateDir+"/zeta/current", runnerA, uid)
			if err := os.Chown(m.path(stateDir+"/zeta"), uid, uid); err != nil {
				t.Fatal(err)
			}
			path := m.path(stateDir + "/web/" + c.at)
			if err := errors.Join(os.Remove(path), c.make(path), os.Lchown(path, uid, uid)); err != nil {
				t.Fatal(err)
			}
			err := p.Protect()
			if err == nil || !strings.Contains(err.Error(), "web/"+c.at) || !strings.Contains(err.Error(), "move it away") {
				t.Fatalf("it says %v", err)
			}
			if m.uid(stateDir+"/web/"+c.at) != uid {
				t.Error("it is root's now")
			}
			if got := []int{m.uid(stateDir + "/web/current"), m.uid(stateDir + "/zeta/current")}; !slices.Equal(got, []int{0, 0}) {
				t.Errorf("the others belong to %v", got)
			}
		})
	}
}

// A state directory that is a link leads nowhere.
func TestProtectRefusesALinkedStateDirectory(t *testing.T) {
	p, m := given(t)
	if err := errors.Join(os.Rename(m.path(stateDir), m.path("/srv")), os.Symlink("/etc", m.path(stateDir))); err != nil {
		t.Fatal(err)
	}
	if err := p.Protect(); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("it says %v", err)
	}
}
