package host

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"ferry/internal/microvm"
)

// replaceLink makes dir/name a symbolic link to target, in one rename, and has
// it on disk when it returns. The temporary name is new (symlink(2) fails on an
// existing one), so a link that somebody else planted is never followed.
func replaceLink(dir, name, target string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening %s: %w", dir, err)
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
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening %s: %w", dir, err)
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

func tempName(name string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, as documented
	return ".ferry-" + name + "-" + hex.EncodeToString(b[:])
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
		return fmt.Errorf("%s is no symbolic link; ferry doesn't remove it", path)
	}
	return os.Remove(path)
}

// readRunnerLink reads a link of a VM's directory that must name a store path.
// It returns the empty path where there is no link.
func readRunnerLink(dir *vmDir, name string) (microvm.StorePath, error) {
	if dir == nil {
		return "", nil
	}
	fi, err := dir.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking at %s: %w", dir.path(name), err)
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		return "", refuse(fmt.Sprintf("%s is no symbolic link", dir.path(name)),
			"it was not made by ferry or microvm.nix: look at it and move it away")
	}
	if dir.trusted && owner(fi) != 0 {
		return "", refuse(fmt.Sprintf("%s belongs to uid %d instead of root", dir.path(name), owner(fi)),
			"a program in the VM's user may have put it there: check it, then `chown -h root "+dir.path(name)+"`")
	}
	target, err := dir.root.Readlink(name)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", dir.path(name), err)
	}
	p, err := microvm.ParseStorePath(target)
	if err != nil {
		return "", refuse(fmt.Sprintf("%s points to %.120q, which is no store path", dir.path(name), target),
			"ferry manages only VMs whose links go straight into /nix/store")
	}
	return p, nil
}

func owner(fi fs.FileInfo) uint32 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return ^uint32(0)
}

// diskUsage is how much of the disk a file takes, in bytes: of a sparse volume,
// only what was written.
func diskUsage(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return fi.Size()
}

// vmDir is an open VM directory.
type vmDir struct {
	root *os.Root
	// trusted: the state directory is root's, so entries that matter must be
	// root's as well. Where microvm.nix laid the host out it is not, and
	// ownership says nothing.
	trusted bool
}

// openVMDir returns nil without an error where the VM has no directory.
func (l Layout) openVMDir(n microvm.Name) (*vmDir, error) {
	fi, err := os.Lstat(l.vmDir(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, refuse(l.vmDir(n)+" is no directory", "look at it and move it away")
	}
	parent, err := os.Stat(l.StateDir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(l.vmDir(n))
	if err != nil {
		return nil, fmt.Errorf("opening the VM's directory: %w", err)
	}
	return &vmDir{root: root, trusted: owner(parent) == 0}, nil
}

func (d *vmDir) path(name string) string { return filepath.Join(d.root.Name(), name) }

func (d *vmDir) close() {
	if d != nil {
		_ = d.root.Close()
	}
}

// readSmall reads a regular file of at most limit bytes.
func (d *vmDir) readSmall(name string, limit int64) ([]byte, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > limit {
		return nil, fmt.Errorf("%s is no small regular file", d.path(name))
	}
	return d.root.ReadFile(name)
}
