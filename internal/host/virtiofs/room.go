// Package virtiofs is where a VM's virtiofsd runs on hosts that ferry set up, so
// that what user microvm puts into a VM's directory leads root nowhere. virtiofsd
// and the supervisor that microvm.nix starts it with open names beside their
// sockets as root (SOCKET.pid, supervisord.log), in a directory where an escaped
// guest can have put links of those names before, or at any moment.
//
// So the runner's `virtiofsd-run` sees another directory in that place, which is
// root's alone, and of the state directory only the shares' sources, each opened
// without following a link. What of the VM's directory shows the sockets to the
// hypervisor are links that root makes there.
package virtiofs

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

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// RunDir has a directory of root's for each VM, which the unit makes.
const RunDir = "/run/microvm-virtiofsd"

// maxWord bounds what is read of a runner's statement of a path, in bytes.
const maxWord = 4096

// Room is where the virtiofsd of one VM runs.
type Room struct {
	StateDir string // where VMs live
	RunDir   string // as the constant, but in tests
	Name     microvm.Name
	Owner    int // root, but in tests
	// Root stands before every path of the store; empty but in tests.
	Root string
}

// share is what a runner says of one of its virtiofs shares.
type share struct{ tag, source, socket string }

// dir is the VM's directory, which user microvm can write to.
func (r Room) dir() string { return filepath.Join(r.StateDir, string(r.Name)) }

// own is root's directory in its place.
func (r Room) own() string { return filepath.Join(r.RunDir, string(r.Name)) }

// booted is the runner that is about to run. Root runs only what root has linked.
func (r Room) booted() (string, error) {
	dir, err := r.open()
	if err != nil {
		return "", err
	}
	defer dir.Close()
	link := filepath.Join(r.dir(), "booted")
	fi, err := dir.Lstat("booted")
	if err != nil {
		return "", err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if fi.Mode()&fs.ModeSymlink == 0 || !ok || int(st.Uid) != r.Owner || st.Nlink != 1 {
		return "", hostapi.Refuse(link+" was not made by root: nothing of it is run", "look at it and remove it, then start the VM")
	}
	target, err := dir.Readlink("booted")
	if err != nil {
		return "", err
	}
	p, err := microvm.ParseStorePath(target)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", link, err)
	}
	return r.Root + string(p), nil
}

// open opens the VM's directory, which is not a link.
func (r Room) open() (*os.Root, error) {
	fi, err := os.Lstat(r.dir())
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, hostapi.Refuse(r.dir()+" is not a directory", "look at it and move it away")
	}
	return os.OpenRoot(r.dir())
}

// shares reads share/microvm/virtiofs of a runner, which a runner need not have.
func shares(runner string) ([]share, error) {
	dir := filepath.Join(runner, "share", "microvm", "virtiofs")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []share
	for _, e := range entries {
		s := share{tag: e.Name()}
		if s.source, err = word(filepath.Join(dir, e.Name(), "source")); err == nil {
			s.socket, err = word(filepath.Join(dir, e.Name(), "socket"))
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// word reads a file of one line; empty where there is none.
func word(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxWord))
	return strings.TrimSuffix(string(b), "\n"), err
}

// below is a path that a runner names as seen from the state directory: `web/x`
// for x of VM web. inside is false for one that is elsewhere.
func (r Room) below(path string) (rel string, inside bool) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.dir(), path)
	}
	bases := []string{r.StateDir}
	if real, err := filepath.EvalSymlinks(r.StateDir); err == nil {
		bases = append(bases, real) // it may be a link to another disk
	}
	for _, base := range bases {
		if rel, err := filepath.Rel(base, path); err == nil && filepath.IsLocal(rel) {
			return rel, true
		}
	}
	return "", false
}

// sources are the shares' sources in the state directory, seen from there.
func (r Room) sources(all []share) ([]string, error) {
	var found []string
	for _, s := range all {
		rel, inside := r.below(s.source)
		if s.source == "" || !inside || slices.Contains(found, rel) {
			continue
		}
		if !strings.Contains(rel, "/") {
			return nil, hostapi.Refuse(fmt.Sprintf("share %s is all of %s, where user microvm can put links that root would follow", s.tag, s.source),
				"share a directory in it instead")
		}
		found = append(found, rel)
	}
	slices.Sort(found)
	for _, outer := range found {
		for _, inner := range found {
			if strings.HasPrefix(inner, outer+"/") {
				return nil, hostapi.Refuse(fmt.Sprintf("shares inside one another: %s and %s of %s", outer, inner, r.StateDir),
					"move one of them out of the other: the guest could put a link where the inner one is")
			}
		}
	}
	return found, nil
}

// sockets are the names of the shares' sockets in the VM's directory.
func (r Room) sockets(all []share) ([]string, error) {
	var names []string
	for _, s := range all {
		rel, inside := r.below(s.socket)
		if s.socket == "" || !inside {
			continue
		}
		name, ok := strings.CutPrefix(rel, string(r.Name)+"/")
		if !ok || strings.Contains(name, "/") {
			return nil, hostapi.Refuse(fmt.Sprintf("the socket of share %s is %s, which is not directly in %s", s.tag, s.socket, r.dir()),
				"leave microvm.shares.*.socket as it is by default, or place it outside of "+r.StateDir)
		}
		names = append(names, name)
	}
	return names, nil
}
