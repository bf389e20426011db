package vmstate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"ferry/internal/microvm"
)

// Protected reports whether the VM's directory is root's and nobody else can
// replace what is in it. One without `current` is not taken for a VM's: isVM is
// false.
func (v VM) Protected() (protected, isVM bool, err error) {
	root, err := openDir(v.Path())
	if err != nil {
		return false, false, err
	}
	defer root.Close()
	if fi, err := root.Lstat("current"); err != nil || fi.Mode()&fs.ModeSymlink == 0 {
		return false, false, nil
	}
	fi, err := root.Stat(".")
	if err != nil {
		return false, false, err
	}
	return int(owner(fi)) == v.layout.Owner && onlyOwnerMoves(fi), true, nil
}

// TakeOver makes the VM's directory root's, and what in it matters, as it is now:
// links that lead to a path of the store, and a `flake` file that can be one. What
// can't be taken over stays, and is in the error. It is for directories that were
// nobody's to protect before: what user microvm has put there counts from then on.
func (v VM) TakeOver() error {
	if err := v.TakeBack(Stray{Path: v.Path()}); err != nil {
		return err
	}
	root, err := openDir(v.Path())
	if err != nil {
		return err
	}
	defer root.Close()
	d := &Dir{root: root, owner: v.layout.Owner, trusted: true}
	var failed error
	for _, name := range []string{"current", "old", "booted", "toplevel", flakeFile} {
		fi, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			failed = errors.Join(failed, err)
		case d.distrust(fi) == "":
		case name == flakeFile:
			failed = errors.Join(failed, v.takeOverFlake(root))
		default:
			failed = errors.Join(failed, v.takeOverLink(root, name))
		}
	}
	return failed
}

func (v VM) takeOverLink(root *os.Root, name string) error {
	path := filepath.Join(v.Path(), name)
	target, err := root.Readlink(name)
	if err != nil {
		return fmt.Errorf("%s is not a link: look at it and move it away", path)
	}
	p, err := microvm.ParseStorePath(target)
	if err != nil {
		return fmt.Errorf("%s leads to %.120q, which is not a store path: look at it and move it away", path, target)
	}
	return v.linkAgain(name, p)
}

// takeOverFlake writes the file again, since its owner may have it open.
func (v VM) takeOverFlake(root *os.Root) error {
	path := filepath.Join(v.Path(), flakeFile)
	f, err := root.OpenFile(flakeFile, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%s can't be read: look at it and move it away: %w", path, withoutPath(err))
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: look at it and move it away", path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFlakeFile+1))
	if err != nil {
		return err
	}
	if _, err := ParseFlakeFile(content); err != nil {
		return fmt.Errorf("%s can't be used: %w; look at it and move it away", path, err)
	}
	return writeFile(v.Path(), flakeFile, content, 0o644)
}

// GiveBooted gives the link `booted` to a user, whose unit makes and removes it.
// Absent is fine.
func (v VM) GiveBooted(uid, gid int) error {
	root, err := openDir(v.Path())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Lchown("booted", uid, gid); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
