package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

// trustedDir is a VM's directory in a state directory of root's: here, of whoever
// runs the test.
func trustedDir(t *testing.T) (Layout, string) {
	t.Helper()
	l := Layout{StateDir: filepath.Join(t.TempDir(), "state"), Owner: os.Geteuid()}
	dir := l.vmDir("web")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o775|fs.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	return l, dir
}

const someRunner = "/nix/store/00000000000000000000000000000000-runner"

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
	d, err := l.openVMDir("web")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if p, err := readRunnerLink(d, "current"); err == nil || !strings.Contains(err.Error(), "hard link") {
		t.Errorf("current: %q, %v", p, err)
	}
	if ref, err := d.readFlake(); err == nil || !strings.Contains(err.Error(), "hard link") {
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
	d, err := l.openVMDir("web")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if d.hasToplevel() {
		t.Error("a planted toplevel link counts")
	}
	if b, err := d.readSmall("flake", maxFlakeFile); err == nil {
		t.Errorf("flake: %q", b)
	}
	if p, err := readRunnerLink(d, "current"); err == nil || !strings.Contains(err.Error(), "uid 12345") {
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
		if d, err := l.openVMDir("web"); err == nil || !strings.Contains(err.Error(), "not protected") {
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
	if d, err := l.openVMDir("web"); err == nil {
		t.Errorf("a directory of somebody else's: %v", d)
	}
	// microvm.nix's layout: ownership says nothing anywhere.
	if err := os.Chown(l.StateDir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	d, err := l.openVMDir("web")
	if err != nil || d.trusted {
		t.Errorf("%v, %v", d, err)
	}
	d.close()
}

// A link in the place of a VM's directory is never worked in, also where the
// state directory is not root's.
func TestDirectoryThatIsALink(t *testing.T) {
	base := t.TempDir()
	l := Layout{StateDir: filepath.Join(base, "state")}
	for _, target := range []string{filepath.Join(base, "elsewhere"), "../elsewhere", "other"} {
		err := errors.Join(os.MkdirAll(filepath.Join(base, "elsewhere"), 0o755), os.MkdirAll(filepath.Join(l.StateDir, "other"), 0o755),
			os.Symlink(target, l.vmDir("web")))
		if err != nil {
			t.Fatal(err)
		}
		if err := replaceLink(l.vmDir("web"), "current", someRunner); err == nil {
			t.Errorf("%s: replaceLink followed it", target)
		}
		if err := writeFile(l.vmDir("web"), "flake", []byte("x"), 0o644); err == nil {
			t.Errorf("%s: writeFile followed it", target)
		}
		if _, err := l.openVMDir("web"); err == nil {
			t.Errorf("%s: openVMDir followed it", target)
		}
		for _, dir := range []string{"elsewhere", "state/other"} {
			if entries, err := os.ReadDir(filepath.Join(base, dir)); err != nil || len(entries) > 0 {
				t.Errorf("%s: in %s: %v, %v", target, dir, entries, err)
			}
		}
		if err := os.Remove(l.vmDir("web")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := microvm.ParseStorePath(someRunner); err != nil {
		t.Fatal(err) // the tests above would prove nothing
	}
}
