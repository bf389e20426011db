package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// apply makes the changes, after the manifest says that it will.
func (s *Setup) apply(ctx context.Context, made *manifest, changes []Change) error {
	unfinished := made.Unfinished // systemd may not have heard of what was made
	made.Unfinished = true
	if err := s.announce(made, changes); err != nil {
		return err
	}
	reload := unfinished
	for _, c := range changes {
		if err := s.do(ctx, c, made); err != nil {
			return fmt.Errorf("setting up: %w (what was done stays; run it again, or with --remove)", err)
		}
		reload = reload || isUnit(c.Name)
	}
	if reload {
		if err := s.sys.reload(ctx); err != nil {
			return err
		}
	}
	for path, f := range made.Files {
		f.Was = ""
		made.Files[path] = f
	}
	for _, c := range changes {
		switch {
		case c.Verb == Keep:
		case c.Verb == Remove, c.Kind == "link":
			delete(made.Files, c.Name)
		case c.Kind == "file":
			delete(made.Links, c.Name)
		}
	}
	made.Unfinished = false
	return s.writeManifest(made)
}

// announce writes down what is about to be made.
func (s *Setup) announce(made *manifest, changes []Change) error {
	for _, c := range changes {
		switch {
		case c.Verb != Create && c.Verb != Update, c.takeBack != nil:
		case c.Kind == "group":
			made.Groups = addOnce(made.Groups, c.Name)
		case c.Kind == "user":
			made.Users = addOnce(made.Users, c.Name)
		case c.Kind == "directory":
			if err := s.announceDir(made, c); err != nil {
				return err
			}
		case c.Kind == "link":
			made.Links[c.Name] = c.item.target
			s.announceParents(made, c.Name)
		case c.Kind == "file":
			made.Files[c.Name] = madeFile{SHA256: sum(c.item.content), Was: c.was}
			s.announceParents(made, c.Name)
		}
	}
	return s.writeManifest(made)
}

func (s *Setup) announceDir(made *manifest, c Change) error {
	if c.Verb == Create {
		s.announceParents(made, c.Name)
		made.Dirs = addOnce(made.Dirs, c.Name)
		return nil
	}
	if _, known := made.Owners[c.Name]; known || slices.Contains(made.Dirs, c.Name) {
		return nil
	}
	fi, err := os.Stat(s.path(c.Name))
	if err != nil {
		return err
	}
	made.Owners[c.Name], err = owners(fi)
	return err
}

// announceParents notes the directories above path that are not there yet.
func (s *Setup) announceParents(made *manifest, path string) {
	var absent []string
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(s.path(dir)); err == nil {
			break
		}
		absent = append(absent, dir)
	}
	slices.Reverse(absent)
	for _, dir := range absent {
		made.Dirs = addOnce(made.Dirs, dir)
	}
}

func (s *Setup) do(ctx context.Context, c Change, made *manifest) error {
	full := s.path(c.Name)
	switch {
	case c.Verb == Keep:
		return nil
	case c.takeBack != nil:
		return c.takeBack()
	case c.Verb == Remove:
		return os.Remove(full)
	case c.Kind == "group":
		return s.sys.addGroup(ctx, c.Name)
	case c.Kind == "user":
		return s.sys.addUser(ctx, c.Name, groupName)
	case c.Kind == "directory":
		return ownDir(full, c.item.mode)
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if c.Kind == "link" {
		if c.Verb == Update {
			return renameio.Symlink(c.item.target, full)
		}
		return os.Symlink(c.item.target, full)
	}
	return s.write(c.Name, c.item.content, c.item.mode)
}

// ownDir makes a directory root's with exactly that mode. It may be a link to
// another disk.
func ownDir(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 0, 0); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// removeIfEmpty leaves a directory that has something in it.
func removeIfEmpty(path string) (gone bool, err error) {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case len(entries) > 0:
		return false, nil
	}
	return true, os.Remove(path)
}
