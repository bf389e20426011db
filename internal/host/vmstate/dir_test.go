package vmstate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// trustedDir is a VM's directory in a state directory of root's: here, of whoever
// runs the test.
func trustedDir(t *testing.T) (Layout, string) {
	t.Helper()
	l := Layout{StateDir: filepath.Join(t.TempDir(), "state"), Owner: os.Geteuid()}
	dir := l.VM("web").Path()
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o775|fs.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	return l, dir
}

const (
	web        = microvm.Name("web")
	someRunner = "/nix/store/00000000000000000000000000000000-runner"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give files to somebody else")
	}
}

// A second name for a link or file of root's is not root's decision.
func TestHardLinksAreNotTrusted(t *testing.T) {
	l, dir := trustedDir(t)
	outside := filepath.Join(l.StateDir, "link")
	file := filepath.Join(l.StateDir, "file")
	err := errors.Join(os.Symlink(someRunner, outside), os.Link(outside, filepath.Join(dir, "current")),
		os.WriteFile(file, []byte("github:evil/flake"), 0o644), os.Link(file, filepath.Join(dir, "flake")))
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.VM("web").Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if p, err := d.Link("current"); err == nil || !strings.Contains(err.Error(), "hard link") {
		t.Errorf("current: %q, %v", p, err)
	}
	if ref, err := d.Flake(); err == nil || !strings.Contains(err.Error(), "hard link") {
		t.Errorf("flake: %q, %v", ref, err)
	}
	if b, err := d.readSmall("flake", maxFlakeFile); err == nil {
		t.Errorf("flake: %q", b)
	}
}

// What user microvm puts there is neither read nor does it stop ferry.
func TestPlantedEntries(t *testing.T) {
	needRoot(t)
	const microvmUser = 12345
	l, dir := trustedDir(t)
	plant := func(name string, err error) {
		t.Helper()
		if err := errors.Join(err, os.Lchown(filepath.Join(dir, name), microvmUser, -1)); err != nil {
			t.Fatal(err)
		}
	}
	plant("toplevel", os.Symlink(someRunner, filepath.Join(dir, "toplevel")))
	plant("flake", os.WriteFile(filepath.Join(dir, "flake"), []byte("github:evil/flake"), 0o644))
	plant("current", os.Symlink(someRunner, filepath.Join(dir, "current")))
	d, err := l.VM("web").Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.HasToplevel() {
		t.Error("a planted toplevel link counts")
	}
	if b, err := d.readSmall("flake", maxFlakeFile); err == nil {
		t.Errorf("flake: %q", b)
	}
	if p, err := d.Link("current"); err == nil || !strings.Contains(err.Error(), "uid 12345") {
		t.Errorf("current: %q, %v", p, err)
	}
}

// A directory whose entries others can replace tells nothing, whoever owns them.
func TestUnprotectedDirectoryIsRefused(t *testing.T) {
	l, dir := trustedDir(t)
	for _, mode := range []fs.FileMode{0o775, 0o757} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if d, err := l.VM("web").Open(); err == nil || !strings.Contains(err.Error(), "not protected") {
			t.Errorf("%o: %v, %v", mode, d, err)
		}
	}
}

// One that is somebody else's is as little worth, unless all of them are.
func TestForeignDirectoryIsRefused(t *testing.T) {
	needRoot(t)
	l, dir := trustedDir(t)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, 12345, -1)); err != nil {
		t.Fatal(err)
	}
	if d, err := l.VM("web").Open(); err == nil {
		t.Errorf("a directory of somebody else's: %v", d)
	}
	// microvm.nix's layout: ownership says nothing anywhere.
	if err := os.Chown(l.StateDir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	d, err := l.VM("web").Open()
	if err != nil || d.trusted {
		t.Errorf("%v, %v", d, err)
	}
	d.Close()
}

// A link in the place of a VM's directory is never worked in, also where the
// state directory is not root's.
func TestDirectoryThatIsALink(t *testing.T) {
	base := t.TempDir()
	l := Layout{StateDir: filepath.Join(base, "state")}
	for _, target := range []string{filepath.Join(base, "elsewhere"), "../elsewhere", "other"} {
		err := errors.Join(os.MkdirAll(filepath.Join(base, "elsewhere"), 0o755), os.MkdirAll(filepath.Join(l.StateDir, "other"), 0o755),
			os.Symlink(target, l.VM("web").Path()))
		if err != nil {
			t.Fatal(err)
		}
		if err := replaceLink(l.VM("web").Path(), "current", someRunner); err == nil {
			t.Errorf("%s: replaceLink followed it", target)
		}
		if err := writeFile(l.VM("web").Path(), "flake", []byte("x"), 0o644); err == nil {
			t.Errorf("%s: writeFile followed it", target)
		}
		if _, err := l.VM("web").Open(); err == nil {
			t.Errorf("%s: openVMDir followed it", target)
		}
		for _, dir := range []string{"elsewhere", "state/other"} {
			if entries, err := os.ReadDir(filepath.Join(base, dir)); err != nil || len(entries) > 0 {
				t.Errorf("%s: in %s: %v, %v", target, dir, entries, err)
			}
		}
		if err := os.Remove(l.VM("web").Path()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := microvm.ParseStorePath(someRunner); err != nil {
		t.Fatal(err) // the tests above would prove nothing
	}
}

func TestLinksAreChecked(t *testing.T) {
	l := Layout{StateDir: t.TempDir(), Owner: os.Geteuid()}
	if err := os.Mkdir(l.VM(web).Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := l.VM(web).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	current := filepath.Join(l.VM(web).Path(), "current")
	read := func() error { _, err := dir.Link("current"); return err }
	if err := read(); err != nil {
		t.Errorf("no link is no error: %v", err)
	}
	for _, target := range []string{"/etc/passwd", "current", "../../nix/store/x", "/nix/store/../../etc", string(someRunner) + "/bin"} {
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
