package virtiofs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Link makes the sockets visible in the VM's directory, where the hypervisor looks
// for them. Whatever user microvm has put there under such a name gives way,
// except for a directory, and can't replace the link again.
func (r Room) Link() error {
	runner, err := r.booted()
	if err != nil {
		return err
	}
	all, err := shares(runner)
	if err != nil {
		return err
	}
	names, err := r.sockets(all)
	if err != nil {
		return err
	}
	// A runner that says nothing of its shares may have sockets all the same.
	entries, err := os.ReadDir(r.own())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSocket != 0 && !slices.Contains(names, e.Name()) {
			names = append(names, e.Name())
		}
	}
	dir, err := r.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range names {
		if err := place(dir, filepath.Join(r.own(), name), name); err != nil {
			return fmt.Errorf("making %s a link to virtiofsd's socket: %w (is something in the way?)", filepath.Join(r.dir(), name), err)
		}
	}
	return nil
}

// place makes a link under a name that nobody can guess, and renames it.
func place(dir *os.Root, target, name string) error {
	tmp := ".virtiofsd-" + rand.Text()
	if err := dir.Symlink(target, tmp); err != nil {
		return err
	}
	err := dir.Rename(tmp, name)
	if err != nil {
		_ = dir.Remove(tmp)
	}
	return err
}

// Unlink removes what Link has made, where it is still there.
func (r Room) Unlink() error {
	dir, err := r.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		if r.made(dir, e) {
			failed = errors.Join(failed, dir.Remove(e.Name()))
		}
	}
	return failed
}

// made reports whether an entry of the VM's directory is one of Link's. Nobody but
// root can put another in its place afterwards.
func (r Room) made(dir *os.Root, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return false
	}
	fi, err := e.Info()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	target, err := dir.Readlink(e.Name())
	return err == nil && ok && int(st.Uid) == r.Owner && target == filepath.Join(r.own(), e.Name())
}
