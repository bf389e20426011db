package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Stray is a part of a VM's directory that is not root's any more, below a state
// directory that is: microvm.nix's own tools give directories away.
type Stray struct {
	Entry string // empty: the directory itself
	Path  string
	Why   string
	// Known is the generation that a link points to; empty: it points to none, and
	// whoever owns it may have put it there.
	Known microvm.StorePath
}

// Strays finds them. A directory without `current` is not taken for a VM's.
func (v VM) Strays() ([]Stray, error) {
	root, err := openDir(v.Path())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if fi, err := root.Lstat("current"); err != nil || fi.Mode()&fs.ModeSymlink == 0 {
		return nil, nil
	}
	var all []Stray
	if fi, err := root.Stat("."); err != nil {
		return nil, err
	} else if int(owner(fi)) != v.layout.Owner || !onlyOwnerMoves(fi) {
		all = append(all, Stray{Path: v.Path(), Why: fmt.Sprintf("owner %d mode %04o", owner(fi), fi.Mode().Perm())})
	}
	known, err := v.runners()
	if err != nil {
		return nil, err
	}
	d := &Dir{root: root, owner: v.layout.Owner, trusted: true}
	for _, name := range []string{"current", "old", "booted", flakeFile} {
		fi, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		why := d.distrust(fi)
		if why == "" {
			continue
		}
		s := Stray{Entry: name, Path: d.Path(name), Why: why}
		if target, err := root.Readlink(name); err == nil {
			s.Why += fmt.Sprintf(", and points to %.200q", target)
			if p, err := microvm.ParseStorePath(target); err == nil && slices.Contains(known, p) {
				s.Known = p
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// runners are those of the generations, which are root's.
func (v VM) runners() ([]microvm.StorePath, error) {
	gens, err := v.Profile().Generations()
	var known []microvm.StorePath
	for _, g := range gens {
		known = append(known, g.Runner)
	}
	return known, err
}

// TakeBack makes root's what it can: the directory, and a link that points to a
// generation. The link is a new one, since its owner may change the old one while
// that is looked at.
func (v VM) TakeBack(s Stray) error {
	switch {
	case s.Entry != "" && s.Known != "":
		return v.linkAgain(s.Entry, s.Known)
	case s.Entry != "":
		return fmt.Errorf("%s %s", s.Path, s.Why)
	}
	gid, err := v.layout.gid()
	if err != nil {
		return err
	}
	parent, err := os.OpenRoot(v.layout.StateDir)
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := parent.Lchown(string(v.name), v.layout.Owner, gid); err != nil {
		return err
	}
	return parent.Chmod(string(v.name), 0o775|fs.ModeSticky)
}

// linkAgain replaces a link by root's own, also where it points there already.
func (v VM) linkAgain(name string, p microvm.StorePath) error {
	root, err := openDir(v.Path())
	if err != nil {
		return err
	}
	defer root.Close()
	tmp := tempName(name)
	if err := root.Symlink(string(p), tmp); err != nil {
		return err
	}
	if err := root.Rename(tmp, name); err != nil {
		_ = root.Remove(tmp)
		return err
	}
	return syncDir(root)
}

// gid is that of the group that may write in a VM's directory.
func (l Layout) gid() (int, error) {
	g, err := user.LookupGroup(l.Group)
	if err != nil {
		return 0, hostapi.Refuse("this machine has no group "+l.Group, "import microvm.nixosModules.host, or make the user microvm with that group")
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return 0, fmt.Errorf("group %s: %w", l.Group, err)
	}
	return gid, nil
}
