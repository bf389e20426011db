package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/microvm"
)

// Roots of Nix that deployments make; setup removes them once they are empty.
var nixDirs = [...]string{"/nix/var/nix/gcroots/ferry", "/nix/var/nix/gcroots/microvm", "/nix/var/nix/profiles/ferry"}

const autostartDir = unitDir + "/microvms.target.wants"

// Remove undoes what Apply did, or says what it would undo with dryRun. Files
// that somebody changed since stay, and so does everything that was there
// before. It refuses while there are VMs.
func (s *Setup) Remove(ctx context.Context, dryRun bool) (*Report, error) {
	if !dryRun {
		unlock, err := s.lock()
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	made, err := s.readManifest()
	if err != nil {
		return nil, err
	}
	if made == nil {
		return &Report{Outcome: OutcomeUnchanged, Warnings: []string{"`ferry host setup` has not been here: there is nothing to undo"}}, nil
	}
	if err := s.refuseVMs(ctx); err != nil {
		return nil, err
	}
	if err := s.refuseTimers(); err != nil {
		return nil, err
	}
	changes, err := s.undoing(made)
	if err != nil {
		return nil, err
	}
	r := &Report{Outcome: OutcomePlanned, Changes: changes}
	if dryRun {
		return r, nil
	}
	r.Outcome = OutcomeRemoved
	return r, s.undo(context.WithoutCancel(ctx), made, changes)
}

// refuseVMs names the VMs that are still here.
func (s *Setup) refuseVMs(ctx context.Context) error {
	running, err := s.sys.running(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, unit := range running {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(unit, "microvm@"), ".service"))
	}
	entries, err := os.ReadDir(s.path(stateDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if _, err := os.Lstat(s.path(path.Join(stateDir, e.Name(), "current"))); err == nil && !slices.Contains(names, e.Name()) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return refuse("there are VMs on this host: "+strings.Join(names, ", "), "remove them first: ferry remove NAME")
}

// refuseTimers names the timers that run the ferry that would go.
func (s *Setup) refuseTimers() error {
	var names []string
	for _, name := range []string{"update", "flake-update"} {
		if _, err := os.Lstat(s.path(unitDir + "/ferry-" + name + ".timer")); err == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return refuse("this host has timers of ferry: "+strings.Join(names, ", "), "remove them first: ferry host timer "+names[0]+" HOST --remove")
}

// undoing lists what Remove does, in its order.
func (s *Setup) undoing(made *manifest) ([]Change, error) {
	changes, err := s.autostartLinks()
	if err != nil {
		return nil, err
	}
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(made.Links))) {
		now, err := os.Readlink(s.path(p))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case now != made.Links[p] && !(p == dropInPath && now == formerDropIn):
			changes = append(changes, Change{Verb: Keep, Kind: "link", Name: p, Note: edited})
		default:
			changes = append(changes, Change{Verb: Remove, Kind: "link", Name: p})
		}
	}
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(made.Files))) {
		c, err := s.removal(p, made)
		if err != nil {
			return nil, err
		}
		if c != nil {
			changes = append(changes, *c)
		}
	}
	data, err := s.dataLeft()
	if err != nil {
		return nil, err
	}
	account := func(kind, name string) Change {
		if data {
			return Change{Verb: Keep, Kind: kind, Name: name, Note: "there are files in " + stateDir}
		}
		return Change{Verb: Remove, Kind: kind, Name: name}
	}
	for _, p := range slices.Backward(made.Dirs) {
		if p == stateDir && data {
			changes = append(changes, Change{Verb: Keep, Kind: "directory", Name: p, Note: "it is not empty"})
			continue
		}
		if p != libDir {
			changes = append(changes, Change{Verb: Remove, Kind: "directory", Name: p})
		}
	}
	for _, p := range slices.Sorted(maps.Keys(made.Owners)) {
		if _, err := os.Stat(s.path(p)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		was := made.Owners[p]
		changes = append(changes, Change{Verb: Update, Kind: "directory", Name: p, Note: fmt.Sprintf("owner and mode as before: %d:%d %04o", was.UID, was.GID, was.Mode)})
	}
	for _, u := range made.Users {
		changes = append(changes, account("user", u))
	}
	for _, g := range made.Groups {
		changes = append(changes, account("group", g))
	}
	return append(changes, Change{Verb: Remove, Kind: "directory", Name: libDir, Note: "ferry's notes and helpers"}), nil
}

// autostartLinks are ferry's own in the target; nothing else is looked at.
func (s *Setup) autostartLinks() ([]Change, error) {
	entries, err := os.ReadDir(s.path(autostartDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var changes []Change
	for _, e := range entries {
		name, isVM := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".service"), "microvm@")
		if _, err := microvm.ParseName(name); !isVM || err != nil {
			continue
		}
		p := autostartDir + "/" + e.Name()
		if to, err := os.Readlink(s.path(p)); err == nil && to == unitDir+"/microvm@.service" {
			changes = append(changes, Change{Verb: Remove, Kind: "link", Name: p})
		}
	}
	return changes, nil
}

// dataLeft reports whether somebody's files are in the state directory.
func (s *Setup) dataLeft() (bool, error) {
	entries, err := os.ReadDir(s.path(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(entries) > 0, err
}

// undo removes the manifest last: a removal that was cut off can be run again.
func (s *Setup) undo(ctx context.Context, made *manifest, changes []Change) error {
	if err := s.sys.forget(ctx); err != nil {
		return err
	}
	for _, c := range changes {
		if c.Name == libDir {
			continue
		}
		if err := s.undoOne(ctx, c, made); err != nil {
			return fmt.Errorf("undoing the setup: %w (run it again)", err)
		}
	}
	for _, dir := range append(nixDirs[:], autostartDir) {
		if _, err := removeIfEmpty(s.path(dir)); err != nil {
			return fmt.Errorf("undoing the setup: %w", err)
		}
	}
	if err := s.sys.reload(ctx); err != nil {
		return err
	}
	return s.removeLib()
}

func (s *Setup) undoOne(ctx context.Context, c Change, made *manifest) error {
	full := s.path(c.Name)
	switch {
	case c.Verb == Keep:
		return nil
	case c.Verb == Update:
		was := made.Owners[c.Name]
		if err := os.Chown(full, was.UID, was.GID); err != nil {
			return ignoreAbsent(err)
		}
		return ignoreAbsent(os.Chmod(full, was.Mode))
	case c.Kind == "user":
		return ifThere(ctx, c.Name, s.sys.hasUser, s.sys.removeUser)
	case c.Kind == "group":
		return ifThere(ctx, c.Name, s.sys.hasGroup, s.sys.removeGroup)
	case c.Kind == "directory":
		_, err := removeIfEmpty(full)
		return err
	}
	return ignoreAbsent(os.Remove(full))
}

// ignoreAbsent: of what somebody has deleted nothing is left to undo.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func ifThere(ctx context.Context, name string, has func(string) (bool, error), remove func(context.Context, string) error) error {
	there, err := has(name)
	if err != nil || !there {
		return err
	}
	return remove(ctx, name)
}

// removeLib removes ferry's own directory, the manifest at the end.
func (s *Setup) removeLib() error {
	entries, err := os.ReadDir(s.path(libDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == path.Base(manifestPath) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.path(libDir), e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.path(libDir))
}
