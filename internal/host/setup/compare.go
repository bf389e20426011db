package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/rogpeppe/go-internal/diff"
)

// Why a file stays though it should be another.
const (
	notOurs = "not made by ferry"
	edited  = "changed since ferry wrote it"
)

// compare finds what a host has to have and this machine lacks, in the order in
// which it is done.
func (s *Setup) compare(made *manifest) ([]Change, error) {
	var changes []Change
	add := func(c *Change, err error) error {
		if c != nil {
			changes = append(changes, *c)
		}
		return err
	}
	if err := add(missing("group", groupName, s.sys.hasGroup)); err != nil {
		return nil, err
	}
	if err := add(missing("user", userName, s.sys.hasUser)); err != nil {
		return nil, err
	}
	items, err := s.wanted()
	if err != nil {
		return nil, err
	}
	now := map[string]bool{ferryPath: true} // which stays where none is at hand
	for _, i := range items {
		now[i.path] = true
		if err := add(s.compareItem(i, made)); err != nil {
			return nil, err
		}
	}
	// What an older ferry made and this one has no use for.
	for _, path := range slices.Sorted(maps.Keys(made.Files)) {
		if !now[path] {
			if err := add(s.removal(path, made)); err != nil {
				return nil, err
			}
		}
	}
	vms, err := s.compareVMs()
	return append(changes, vms...), err
}

func missing(kind, name string, has func(string) (bool, error)) (*Change, error) {
	there, err := has(name)
	if there || err != nil {
		return nil, err
	}
	return &Change{Verb: Create, Kind: kind, Name: name}, nil
}

// compareItem returns nil where all is well.
func (s *Setup) compareItem(i item, made *manifest) (*Change, error) {
	c := &Change{Verb: Create, Kind: i.kind(), Name: i.path, item: i}
	look := os.Lstat
	if i.dir {
		look = os.Stat // it may be a link to another disk
	}
	fi, err := look(s.path(i.path))
	if errors.Is(err, fs.ErrNotExist) {
		c.Diff = i.diff(nil)
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case i.dir:
		return c.compareDir(fi)
	case i.target != "":
		now, err := os.Readlink(s.path(i.path))
		switch {
		case err == nil && now == i.target:
			return nil, nil
		case err == nil && now == i.former && made.Links[i.path] != "", s.isFileOfOurs(i.path, made):
			c.Verb, c.Diff = Update, i.diff(nil)
		default:
			c.Verb, c.Note = Keep, notOurs
		}
		return c, nil
	}
	if to, err := os.Readlink(s.path(i.path)); err == nil && to == made.Links[i.path] {
		c.Verb, c.Diff = Update, i.diff(nil)
		return c, nil
	}
	if !fi.Mode().IsRegular() {
		c.Verb, c.Note = Keep, notOurs
		return c, nil
	}
	now, err := os.ReadFile(s.path(i.path))
	if err != nil {
		return nil, err
	}
	if bytes.Equal(now, i.content) && fi.Mode().Perm() == i.mode {
		return nil, nil
	}
	ours, known := made.Files[i.path]
	c.Verb, c.Diff, c.was = Update, i.diff(now), sum(now)
	switch {
	case !known && bytes.Equal(now, i.content):
		// A right file with other permissions is somebody's choice.
		return nil, nil
	case !known:
		c.Verb, c.Note = Keep, notOurs
	case !ours.has(c.was):
		c.Verb, c.Note = Keep, edited
	}
	return c, nil
}

// isFileOfOurs reports whether setup wrote the file at path, and nobody since.
func (s *Setup) isFileOfOurs(path string, made *manifest) bool {
	fi, err := os.Lstat(s.path(path))
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	now, err := os.ReadFile(s.path(path))
	return err == nil && made.Files[path].has(sum(now))
}

// compareDir wants a directory of root's with the item's permissions.
func (c *Change) compareDir(fi fs.FileInfo) (*Change, error) {
	if !fi.IsDir() {
		return nil, refuse(c.Name+" is not a directory", "look at it and move it away")
	}
	was, err := owners(fi)
	if err != nil {
		return nil, err
	}
	if was.UID == 0 && was.GID == 0 && was.Mode == c.item.mode {
		return nil, nil
	}
	c.Verb = Update
	c.Note = fmt.Sprintf("owner %d:%d mode %04o → 0:0 %04o", was.UID, was.GID, was.Mode, c.item.mode)
	return c, nil
}

func owners(fi fs.FileInfo) (owned, error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return owned{}, fmt.Errorf("the owner of %s is not known", fi.Name())
	}
	return owned{UID: int(st.Uid), GID: int(st.Gid), Mode: fi.Mode().Perm()}, nil
}

// diff is the unified diff from old; a binary's says only its size.
func (i item) diff(old []byte) string {
	switch {
	case i.dir:
		return ""
	case i.target != "":
		return "→ " + i.target
	case i.binary:
		return fmt.Sprintf("binary, %d bytes, SHA-256 %s", len(i.content), sum(i.content))
	}
	name := i.path
	if old == nil {
		name = "/dev/null"
	}
	return string(diff.Diff(name, old, i.path, i.content))
}

// removal is how to be rid of a file of the manifest; nil where it is gone.
func (s *Setup) removal(path string, made *manifest) (*Change, error) {
	c := &Change{Verb: Remove, Kind: "file", Name: path}
	fi, err := os.Lstat(s.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		c.Verb, c.Note = Keep, edited
		return c, nil
	}
	now, err := os.ReadFile(s.path(path))
	if err != nil {
		return nil, err
	}
	if !made.Files[path].has(sum(now)) {
		c.Verb, c.Note = Keep, edited
	}
	return c, nil
}
