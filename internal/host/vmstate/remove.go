package vmstate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Remove removes everything of a VM: links, GC roots, generations, ferry's notes
// and, without keepData, its directory with all that is in it. What an interrupted
// run has left, the next one removes. The lock stays: see Held.Remove.
func (v VM) Remove(keepData bool) error {
	return errors.Join(v.removeFiles(keepData), v.Roots().remove(), os.RemoveAll(v.Profile().dir()), os.RemoveAll(v.lib()))
}

// removeFiles removes the VM's directory, or with keepData the layout's entries
// in it; a directory that is empty then goes as well. Nothing follows a link.
func (v VM) removeFiles(keepData bool) error {
	state, err := os.OpenRoot(v.layout.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer state.Close()
	name := string(v.name)
	if !keepData {
		return state.RemoveAll(name)
	}
	_ = dropSpares(v.Path())
	for _, entry := range layoutEntries() {
		if err := state.Remove(filepath.Join(name, entry)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_ = state.Remove(name) // fails where data is in it
	return nil
}

// Withdraw removes what was made for a VM that was new. Its directory stays if
// it was there before, or if the VM has put something there; all of it does if
// somebody has installed something since, which these roots keep.
func (v VM) Withdraw(b *Snapshot) error {
	if _, err := os.Lstat(filepath.Join(v.Path(), "current")); err == nil {
		return nil
	}
	if !b.Directory {
		_ = v.removeIn("booted") // where microvm-set-booted@ could not
		_ = os.Remove(v.Path())
	}
	errs := []error{v.Guest().Reset()}
	for _, root := range v.Roots().ofLinks() {
		errs = append(errs, removeLink(root))
	}
	return errors.Join(errs...)
}

// Leftovers are the paths outside the VM's directory that an earlier removal,
// or somebody who deleted only that directory, has left.
func (v VM) Leftovers() []string {
	var left []string
	for _, p := range append(v.Roots().ofLinks(), v.Roots().Path(), v.Profile().dir(), v.lib(), v.Autostart().link()) {
		if _, err := os.Lstat(p); err == nil {
			left = append(left, p)
		}
	}
	return left
}
