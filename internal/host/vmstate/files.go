package vmstate

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// replaceLink makes dir/name a symbolic link to target, in one rename, and has
// it on disk when it returns. The temporary name is new (symlink(2) fails on an
// existing one), so a link that somebody else planted is never followed.
func replaceLink(dir, name, target string) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if now, err := root.Readlink(name); err == nil && now == target {
		return nil
	}
	tmp := tempName(name)
	if err := root.Symlink(target, tmp); err != nil {
		return fmt.Errorf("linking %s in %s: %w", name, dir, err)
	}
	if err := root.Rename(tmp, name); err != nil {
		_ = root.Remove(tmp)
		return fmt.Errorf("moving the new %s into place in %s: %w", name, dir, err)
	}
	return syncDir(root)
}

// writeFile replaces dir/name by a file of that content, as replaceLink does.
func writeFile(dir, name string, content []byte, mode fs.FileMode) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tmp := tempName(name)
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing %s in %s: %w", name, dir, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp)
		return fmt.Errorf("writing %s in %s: %w", name, dir, err)
	}
	return syncDir(root)
}

// openDir opens a directory that must be one by itself: where microvm.nix laid
// the host out, user microvm may put a link in the place of a VM's directory, and
// root would work in whatever that leads to.
func openDir(dir string) (*os.Root, error) {
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	defer parent.Close()
	name := filepath.Base(dir)
	root, err := parent.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	// Links that stay inside the parent are followed by OpenRoot.
	there, err := parent.Lstat(name)
	if err == nil {
		var opened fs.FileInfo
		if opened, err = root.Stat("."); err == nil && !os.SameFile(there, opened) {
			err = errors.New("it is a link, or was replaced just now")
		}
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	return root, nil
}

func tempName(name string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, as documented
	return ".ferry-" + name + "-" + hex.EncodeToString(b[:])
}

func syncPath(dir string) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return syncDir(root)
}

func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("opening %s: %w", root.Name(), err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", root.Name(), err)
	}
	return nil
}

func removeLink(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s is not a symbolic link; ferry doesn't remove it", path)
	}
	return os.Remove(path)
}
