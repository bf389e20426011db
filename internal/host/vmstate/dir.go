package vmstate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ferry/internal/host/virtiofs"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Link reads a link of a VM's directory that must name a store path. It returns
// the empty path where there is no link, and where there is no directory.
func (d *Dir) Link(name string) (microvm.StorePath, error) {
	if d == nil {
		return "", nil
	}
	fi, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking at %s: %w", d.Path(name), err)
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		return "", hostapi.Refuse(fmt.Sprintf("%s is not a symbolic link", d.Path(name)),
			"it was not made by ferry or microvm.nix: look at it and move it away")
	}
	if why := d.distrust(fi); why != "" {
		return "", hostapi.Refuse(d.Path(name)+" "+why,
			"a program in the VM's user may have put it there: check it, then remove it, or `chown -h root "+d.Path(name)+"`")
	}
	target, err := d.root.Readlink(name)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", d.Path(name), err)
	}
	p, err := microvm.ParseStorePath(target)
	if err != nil {
		return "", hostapi.Refuse(fmt.Sprintf("%s points to %.120q, which is not a store path", d.Path(name), target),
			"ferry manages only VMs whose links go straight into /nix/store")
	}
	return p, nil
}

// distrust says why an entry can't be root's own; empty where it is, or where
// ownership says nothing. A second name for it (a hard link) could be one that
// somebody else has given to a file of root's, say from the store.
func (d *Dir) distrust(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !d.trusted:
		return ""
	case !ok || int(st.Uid) != d.owner:
		return fmt.Sprintf("belongs to uid %d instead of root", owner(fi))
	case st.Nlink != 1:
		return "is a hard link to another file"
	}
	return ""
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

// Dir is an open VM directory.
type Dir struct {
	root  *os.Root
	owner int // Layout.Owner
	// trusted: the state directory is root's alone, so entries that matter must
	// be root's as well. Where microvm.nix laid the host out it is not, and
	// ownership says nothing.
	trusted bool
}

// Open opens the VM's directory. It returns nil without an error where there is
// none.
func (v VM) Open() (*Dir, error) {
	fi, err := os.Lstat(v.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, hostapi.Refuse(v.Path()+" is not a directory", "look at it and move it away")
	}
	return openEntry(v.Path(), v.layout.Owner)
}

// OpenEntry opens an entry of the state directory, whatever its name, that should
// be a VM's directory. The error has the path in front of an error that doesn't.
func (l Layout) OpenEntry(name string) (*Dir, error) {
	path := filepath.Join(l.StateDir, name)
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%s: %w", path, errors.New("it is not a directory"))
	}
	dir, err := openEntry(path, l.Owner)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	return dir, nil
}

// openEntry opens an entry of a state directory that may be the owner's alone.
func openEntry(path string, root int) (*Dir, error) {
	parent, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	opened, err := openDir(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{root: opened, owner: root, trusted: int(owner(parent)) == root && onlyOwnerMoves(parent)}
	fi, err := opened.Stat(".")
	if err == nil && d.trusted && (int(owner(fi)) != root || !onlyOwnerMoves(fi)) {
		err = hostapi.Refuse(path+" is not protected: others than root may replace what is in it",
			fmt.Sprintf("microvm.nix's scripts leave it so; `ferry host setup` on this host takes it back, on NixOS `systemctl restart ferry-protect-state-dir` (or `chown root %[1]s && chmod +t %[1]s`, then look at its links)", path))
	}
	if err != nil {
		_ = opened.Close()
		return nil, err
	}
	return d, nil
}

// onlyOwnerMoves reports whether nobody but a directory's owner can rename or
// remove entries of others in it.
func onlyOwnerMoves(dir fs.FileInfo) bool {
	return dir.Mode().Perm()&0o022 == 0 || dir.Mode()&fs.ModeSticky != 0
}

// Path is where an entry of it is.
func (d *Dir) Path(name string) string { return filepath.Join(d.root.Name(), name) }

// Close lets go of it.
func (d *Dir) Close() {
	if d != nil {
		_ = d.root.Close()
	}
}

// HasToplevel reports whether the host's own configuration has put the link
// there that marks its VMs.
func (d *Dir) HasToplevel() bool {
	fi, err := d.root.Lstat("toplevel")
	return err == nil && d.distrust(fi) == ""
}

// readSmall reads a regular file of at most limit bytes that is root's where
// that means something. It never waits, as for the writer of a pipe.
func (d *Dir) readSmall(name string, limit int64) ([]byte, error) {
	content, err := d.readEntry(name, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.Path(name), withoutPath(err))
	}
	return content, nil
}

// notOursError says why an entry can't be one that root has made.
type notOursError struct{ why string }

func (e *notOursError) Error() string { return e.why }

// readEntry is readSmall with errors that do not name the file.
func (d *Dir) readEntry(name string, limit int64) ([]byte, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &notOursError{"it is not a regular file"}
	}
	if why := d.distrust(fi); why != "" {
		return nil, &notOursError{"it " + why + ", so a program in the VM's user may have written it"}
	}
	// Not blocking, and compared with what was looked at: it may be something
	// else by now.
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(fi, now) {
		return nil, errors.New("it was replaced while it was read")
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return content, err
}

// toSocket reports whether an entry is a link to a socket of virtiofsd's, as hosts
// set up by ferry have it.
func (d *Dir) toSocket(e fs.DirEntry) bool {
	target, err := d.root.Readlink(e.Name())
	return err == nil && strings.HasPrefix(target, virtiofs.RunDir+"/")
}

// Data lists what of a VM's directory is neither the layout's nor of the kind
// that only a running VM needs (sockets, links to them, and pipes).
func (d *Dir) Data() ([]hostapi.DataFile, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", d.root.Name(), err)
	}
	files := []hostapi.DataFile{}
	for _, e := range entries {
		if slices.Contains(layoutEntries(), e.Name()) || strings.HasPrefix(e.Name(), sparePrefix) || e.Type()&(fs.ModeSocket|fs.ModeNamedPipe) != 0 || d.toSocket(e) {
			continue
		}
		f := hostapi.DataFile{Name: e.Name(), Directory: e.IsDir()}
		_ = fs.WalkDir(d.root.FS(), e.Name(), func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				return nil // gone meanwhile, or unreadable: it is only a size
			}
			if fi, err := e.Info(); err == nil {
				f.Bytes += diskUsage(fi)
			}
			return nil
		})
		files = append(files, f)
	}
	return files, nil
}
