package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/microvm"
)

// VM is one VM, as it is on disk at the moment of each call.
type VM struct {
	layout Layout
	name   microvm.Name
}

// Name is the VM's name.
func (v VM) Name() microvm.Name { return v.name }

// Path is its directory, which need not be there.
func (v VM) Path() string { return filepath.Join(v.layout.StateDir, string(v.name)) }

// lib is where ferry's own notes on it are.
func (v VM) lib() string { return filepath.Join(v.layout.Lib, "vms", string(v.name)) }

// Now is this moment, as notes on it keep time.
func (v VM) Now() Moment { return v.layout.Now() }

// Roots are its garbage collector roots.
func (v VM) Roots() Roots { return Roots{vm: v} }

// Profile has its generations.
func (v VM) Profile() Profile { return Profile{vm: v} }

// Notes are what ferry notes of it.
func (v VM) Notes() Notes { return Notes{vm: v} }

// Guest is what is known of the system inside.
func (v VM) Guest() Guest { return Guest{vm: v} }

// History is what was done with it.
func (v VM) History() History { return History{vm: v} }

// Lock keeps others out.
func (v VM) Lock() Lock { return Lock{vm: v} }

// Autostart is its place among what starts with the host.
func (v VM) Autostart() Autostart { return Autostart{vm: v} }

// Log is what a deployment has said on the host.
func (v VM) Log(id string) Log { return Log{vm: v, id: id} }

// layoutEntries are the entries of a VM's directory that the layout makes.
func layoutEntries() []string { return []string{"current", "old", "booted", flakeFile} }

// Make makes the VM's directory and the GC roots to its links, all before the
// first link: nothing is ever current without being rooted.
func (v VM) Make() error {
	roots := v.layout.MicrovmRoots()
	if err := os.MkdirAll(roots, 0o755); err != nil {
		return fmt.Errorf("making the directory of GC roots: %w", err)
	}
	for root, link := range v.linkRoots() {
		if err := replaceLink(roots, root, filepath.Join(v.Path(), link)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(v.layout.StateDir, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	return v.makeDir()
}

// linkRoots are the names of the roots to its links.
func (v VM) linkRoots() map[string]string {
	n := string(v.name)
	return map[string]string{n: "current", "booted-" + n: "booted", "old-" + n: "old"}
}

// makeDir makes an absent VM directory, root:kvm 1775: the hypervisor's user
// can make files in it but not touch root's.
func (v VM) makeDir() error {
	l := v.layout
	if _, err := os.Lstat(v.Path()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	gid, err := l.gid()
	if err != nil {
		return err
	}
	parent, err := os.OpenRoot(l.StateDir)
	if err != nil {
		return err
	}
	defer parent.Close()
	tmp := tempName(string(v.name))
	if err := parent.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("making the VM's directory: %w", err)
	}
	err = parent.Lchown(tmp, l.Owner, gid)
	if err == nil {
		err = parent.Chmod(tmp, 0o775|fs.ModeSticky)
	}
	if err == nil {
		err = parent.Rename(tmp, string(v.name))
	}
	if err != nil {
		_ = parent.Remove(tmp)
		return fmt.Errorf("making the VM's directory: %w", err)
	}
	return syncDir(parent)
}

// PutLink makes a link of the VM's directory point to p; the empty path removes
// it.
func (v VM) PutLink(name string, p microvm.StorePath) error {
	if p != "" {
		return replaceLink(v.Path(), name, string(p))
	}
	return v.removeIn(name)
}

// removeIn removes a file or link of the VM's directory.
func (v VM) removeIn(name string) error {
	root, err := os.OpenRoot(v.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(root)
}

// PutFlake writes the reference that the VM is updated from.
func (v VM) PutFlake(ref string) error {
	return writeFile(v.Path(), flakeFile, []byte(ref), 0o644)
}

// Forget drops what only a deployment under way needs.
func (v VM) Forget() error {
	return errors.Join(v.Roots().DropPending(), v.dropUndo(), v.Notes().drop(helperFile), v.Notes().drop(noteDeployment), v.Roots().DropEmpty())
}
