package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// undoTimeout bounds an undo: a stop of the new runner, and a start of the old.
const undoTimeout = 10 * time.Minute

// undo puts the VM back to what it was before the deployment, exactly: `current`
// first, since that is what systemd would start at any moment, then generation,
// `flake`, `old` and the unit. It can be repeated from any point. The text says
// how things are; the error, that the VM does not run again though it did.
func (s *Server) undo(ctx context.Context, n microvm.Name, left *unfinished, log func(string)) (state string, err error) {
	b := left.Before
	log("undoing: " + left.Why)
	if err := step.Do(step.Undo, func() error {
		left.Phase = hostapi.PhaseUndo
		return s.layout.writeNote(n, noteDeployment, left)
	}); err != nil {
		return "", err
	}
	if err := s.undoLinks(n, left); err != nil {
		return "", err
	}
	state = "the previous runner is current, and what runs was not touched"
	if left.Commit.Activation.Starts() {
		err = step.Do(step.UndoUnit, func() error { state, err = s.undoUnit(ctx, n, b, log); return err })
	}
	if err != nil {
		return "", err
	}
	err = s.undoToStart(n, left)
	if b.Current == "" {
		err = errors.Join(err, s.layout.withdraw(n, b))
	}
	return state, err
}

// undoToStart forgets that the deployment wanted the VM up.
func (s *Server) undoToStart(n microvm.Name, left *unfinished) error {
	if left.Before.ToStart {
		return nil
	}
	return s.layout.dropNote(n, noteToStart)
}

// undoLinks puts back what a deployment has changed on disk.
func (s *Server) undoLinks(n microvm.Name, left *unfinished) error {
	l, b := s.layout, left.Before
	err := errors.Join(
		step.Do(step.UndoLink, func() error { return l.putLink(n, "current", b.Current) }),
		step.Do(step.UndoGen, func() error { return l.restoreGenerations(n, left) }),
		step.Do(step.UndoRest, func() error { return errors.Join(l.restoreFlake(n, b.Flake), l.putLink(n, "old", b.Old)) }),
	)
	if err != nil {
		return fmt.Errorf("undoing the installation: %w", err)
	}
	return nil
}

// undoUnit brings the unit back to what it was: left alone where it was not
// touched, stopped where it was stopped, else started with what ran.
func (s *Server) undoUnit(ctx context.Context, n microvm.Name, b *snapshot, log func(string)) (string, error) {
	u, err := s.units.Unit(ctx, n.Unit())
	if err != nil {
		return "", err
	}
	switch {
	case b.Unit.Up() && u.Up() && u.InvocationID == b.Unit.InvocationID:
		return "the previous runner is current, and the VM was not restarted", nil
	case b.Unit.Stopped() || b.Current == "":
		if !u.Stopped() {
			if _, err := s.units.Stop(ctx, n, log); err != nil {
				return "", fmt.Errorf("stopping the new runner: %w", err)
			}
		}
		if b.Current == "" {
			return "the VM was new: stopped and uninstalled", nil
		}
		return "the previous runner is current again, and the VM is stopped as before", nil
	}
	unit, err := s.boot(ctx, n, b, log)
	switch {
	case err == nil:
		return fmt.Sprintf("the previous runner is current, and %s runs again (%s)", b.boots(), unit.ActiveState), s.layout.dropRunning(n)
	case !b.Unit.Up(): // it did not run before
		return fmt.Sprintf("the previous runner is current again; it does not stay up, as before (%v)", err), nil
	}
	return "", &stillDownError{runner: b.boots(), err: err}
}

// stillDownError: all is as it was, but what ran does not start any more.
type stillDownError struct {
	runner microvm.StorePath
	err    error
}

func (e *stillDownError) Error() string {
	return fmt.Sprintf("the previous runner %s is current again, but does not start either: %v", e.runner, e.err)
}
func (e *stillDownError) Unwrap() error { return e.err }

// boot starts the unit with what ran before, which `current` may not name: then
// it does so for as long as the start takes.
func (s *Server) boot(ctx context.Context, n microvm.Name, b *snapshot, log func(string)) (hostapi.UnitState, error) {
	if runner := b.boots(); runner != b.Current {
		if err := s.layout.putLink(n, "current", runner); err != nil {
			return hostapi.UnitState{}, err
		}
	}
	unit, err := s.units.Run(ctx, n, hostapi.ActivateRestart, log)
	return unit, errors.Join(err, s.layout.putLink(n, "current", b.Current))
}

// putLink makes a link of the VM's directory point to p; the empty path removes
// it.
func (l Layout) putLink(n microvm.Name, name string, p microvm.StorePath) error {
	if p != "" {
		return replaceLink(l.vmDir(n), name, string(p))
	}
	return l.removeIn(n, name)
}

// removeIn removes a file or link of the VM's directory.
func (l Layout) removeIn(n microvm.Name, name string) error {
	root, err := os.OpenRoot(l.vmDir(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(root)
}

func (l Layout) restoreFlake(n microvm.Name, content *string) error {
	if content == nil {
		dir, err := l.openVMDir(n)
		if err != nil || dir == nil {
			return err
		}
		defer dir.close()
		if _, err := dir.readSmall(flakeFile, maxFlakeFile); err != nil {
			return nil // none, or not what ferry has written
		}
		return l.removeIn(n, flakeFile)
	}
	return writeFile(l.vmDir(n), flakeFile, []byte(*content), 0o644)
}

// restoreGenerations makes the profile what it was, except for generations of
// another runner than the deployment's: those somebody else has made since. Its
// links are put back without Nix, which may be just what doesn't work; they are
// those that Nix makes.
func (l Layout) restoreGenerations(n microvm.Name, left *unfinished) error {
	b, profile := left.Before, l.profile(n)
	dir := filepath.Dir(profile)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ours := func(number int) bool {
		runner, err := os.Readlink(filepath.Join(dir, generationLink(number)))
		return err != nil || runner == string(left.Runner)
	}
	if now := l.generation(n); now != b.Generation && ours(now) {
		if err := l.setProfile(n, b.Generation); err != nil {
			return err
		}
	}
	numbers, err := l.generationNumbers(n)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if !slices.Contains(b.Generations, number) && ours(number) {
			if err := removeLink(filepath.Join(dir, generationLink(number))); err != nil {
				return err
			}
		}
	}
	if len(b.Generations) == 0 {
		_ = os.Remove(dir)
	}
	return nil
}

// setProfile makes the profile point to a generation; 0 removes it.
func (l Layout) setProfile(n microvm.Name, number int) error {
	profile := l.profile(n)
	if number == 0 {
		return removeLink(profile)
	}
	return replaceLink(filepath.Dir(profile), filepath.Base(profile), generationLink(number))
}

func generationLink(number int) string { return fmt.Sprintf("runner-%d-link", number) }

// withdraw removes what was made for a VM that was new. Its directory stays if
// the VM has put something there.
func (l Layout) withdraw(n microvm.Name, b *snapshot) error {
	if !b.Directory {
		_ = l.removeIn(n, "booted") // where microvm-set-booted@ could not
		_ = os.Remove(l.vmDir(n))
	}
	return errors.Join(
		l.dropRunning(n),
		removeLink(filepath.Join(l.microvmRoots(), string(n))),
		removeLink(filepath.Join(l.microvmRoots(), "booted-"+string(n))),
		removeLink(filepath.Join(l.microvmRoots(), "old-"+string(n))),
	)
}
