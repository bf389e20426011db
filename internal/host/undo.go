package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// undoTimeout bounds an undo: a stop of the new runner, and a start of the old.
const undoTimeout = 10 * time.Minute

// undoing puts a VM back to what it was before a deployment.
type undoing struct {
	vm    vmstate.VM
	units unitManager
	note  *vmstate.Note
	// started remembers how the start of what ran before has ended; nil where there
	// is one try.
	started *vmstate.UndoStart
	log     func(string)
}

// run puts back all of it, exactly: `current` first, since that is what systemd
// would start at any moment, then generation, `flake`, `old` and the unit. It can
// be repeated from any point, and needs no space on a disk where a way back was
// made before. The text says how things are; the error, that the VM does not run
// again though it did, or what is to be tried again.
func (u undoing) run(ctx context.Context) (state string, err error) {
	u.log("undoing: " + u.note.Why)
	u.note.Phase = hostapi.PhaseUndo
	if err := step.Do(step.Undo, func() error { return u.vm.Notes().PutUndo(u.note) }); err != nil {
		return "", err
	}
	state, err = u.putBack(ctx)
	if err != nil {
		u.note.LastError = err.Error()
		_ = u.vm.Notes().PutUndo(u.note) // for people; what decides is noted already
	}
	return state, err
}

func (u undoing) putBack(ctx context.Context) (state string, err error) {
	if err := u.links(); err != nil {
		return "", err
	}
	state = "the previous runner is current, and what runs was not touched"
	if u.note.Commit.Activation.Starts() {
		err = step.Do(step.UndoUnit, func() error { state, err = u.unit(ctx); return err })
	}
	if err != nil {
		return "", err
	}
	err = u.toStart()
	if u.note.Before.Current == "" {
		err = errors.Join(err, u.vm.Withdraw(u.note.Before))
	}
	return state, err
}

// toStart forgets that the deployment wanted the VM up.
func (u undoing) toStart() error {
	if u.note.Before.ToStart {
		return nil
	}
	return u.vm.Notes().DropToStart()
}

// links puts back what a deployment has changed on disk. Where `current` is somebody
// else's, nothing is touched, and the error says so; such an `old` just stays.
func (u undoing) links() error {
	b, n := u.note.Before, u.note.Runner
	err := step.Do(step.UndoLink, func() error { return u.vm.MoveLink("current", u.current(), n, b.Current, b.Boots()) })
	var foreign *vmstate.ForeignLinkError
	if errors.As(err, &foreign) {
		return err
	}
	err = errors.Join(
		err,
		step.Do(step.UndoGen, func() error { return u.vm.Profile().Restore(b, n) }),
		step.Do(step.UndoRest, func() error {
			err := u.vm.MoveLink("old", b.Old, b.Current)
			if errors.As(err, &foreign) {
				u.log(foreign.Error() + "; it stays")
				err = nil
			}
			return errors.Join(u.vm.RestoreFlake(b, u.note.Commit.UpdateFlake), err)
		}),
	)
	if err != nil {
		return fmt.Errorf("undoing the installation: %w", err)
	}
	return nil
}

// current is what `current` is to be again: what it was, unless that is gone and
// another runner is there.
func (u undoing) current() microvm.StorePath {
	b := u.note.Before
	if can := u.vm.Startable(b); b.Current != "" && can != "" && !u.vm.CanStart(b.Current) {
		return can
	}
	return b.Current
}

// unit brings the unit back to what it was: left alone where it was not touched,
// stopped where it was stopped, else started with what ran.
func (u undoing) unit(ctx context.Context) (string, error) {
	n, b := u.vm.Name(), u.note.Before
	now, err := u.units.Unit(ctx, n.Unit())
	if err != nil {
		return "", err
	}
	switch {
	case b.Unit.Up() && now.Up() && now.InvocationID == b.Unit.InvocationID:
		return "the previous runner is current, and the VM was not restarted", nil
	case b.Unit.Stopped() || b.Current == "":
		if !now.Stopped() {
			if _, err := u.units.Stop(ctx, n, u.log); err != nil {
				return "", fmt.Errorf("stopping the new runner: %w", err)
			}
		}
		if b.Current == "" {
			return "the VM was new: stopped and uninstalled", nil
		}
		return "the previous runner is current again, and the VM is stopped as before", nil
	}
	runner := u.vm.Startable(b)
	unit, err := u.bringUp(ctx, runner, now.UnitState)
	var down *stillDownError
	switch {
	case err == nil:
		return fmt.Sprintf("the previous runner is current, and %s (%s)%s", again(runner, unit), unit.ActiveState, instead(b, runner)), u.vm.Guest().Reset()
	case errors.As(err, &down) && !b.Unit.Up(): // it did not run before
		return fmt.Sprintf("the previous runner is current again; it does not stay up, as before (%v)", down.err), nil
	}
	return "", err
}

func again(runner microvm.StorePath, unit hostapi.UnitState) string {
	if !unit.Up() {
		return fmt.Sprintf("%s was started again", runner)
	}
	return fmt.Sprintf("%s runs again", runner)
}

// instead says why another runner than the one that ran was started.
func instead(b *vmstate.Snapshot, runner microvm.StorePath) string {
	if runner == b.Boots() {
		return ""
	}
	return fmt.Sprintf("; what ran before, %s, is gone from the store", b.Boots())
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

// bringUp starts the unit with a runner that ran before, once: how that has ended
// is noted, and a further try only tells it.
func (u undoing) bringUp(ctx context.Context, runner microvm.StorePath, now hostapi.UnitState) (hostapi.UnitState, error) {
	if runner == "" {
		return now, &stillDownError{runner: u.note.Before.Boots(), err: errors.New("it is gone from the store, and so are those before it")}
	}
	if now.Up() && runner != u.note.Runner && u.vm.Booted() == runner {
		return now, nil // an earlier try, which ended before it could say so
	}
	if last := u.lastStart(runner); last != nil {
		if last.Failed() {
			return now, &stillDownError{runner: runner, err: errors.New(last.Error)}
		}
		return now, nil
	}
	unit, err := u.boot(ctx, runner)
	var failed *hostapi.Failure
	if err != nil && !errors.As(err, &failed) {
		return unit, err
	}
	if _, lost := u.units.Unit(ctx, u.vm.Name().Unit()); lost != nil { // so the failure may not be the runner's
		return unit, errors.Join(err, lost)
	}
	u.remember(vmstate.NewUndoStart(u.vm.Now(), runner, err))
	if err != nil {
		return unit, &stillDownError{runner: runner, err: err}
	}
	return unit, nil
}

// lastStart is the start of that runner that was made in this undo already; nil
// where there was none since the host has booted.
func (u undoing) lastStart(runner microvm.StorePath) *vmstate.UndoStart {
	for _, s := range []*vmstate.UndoStart{u.note.UndoStarted, u.started} {
		if s.Counts(u.vm.Now(), runner) {
			return s
		}
	}
	return nil
}

// remember notes how a start has ended, or keeps it in memory where there is no
// space for that.
func (u undoing) remember(s vmstate.UndoStart) {
	u.note.UndoStarted = &s
	if u.started != nil {
		*u.started = s
	}
	if err := u.vm.Notes().PutUndo(u.note); err != nil {
		u.log(err.Error())
	}
}

// boot starts the unit with a runner that `current` may not name: then it does so
// for as long as the start takes.
func (u undoing) boot(ctx context.Context, runner microvm.StorePath) (hostapi.UnitState, error) {
	current := u.current()
	if err := u.vm.MoveLink("current", runner, current); err != nil {
		return hostapi.UnitState{}, err
	}
	unit, err := u.units.Run(ctx, u.vm.Name(), hostapi.ActivateRestart, u.log)
	if lerr := u.vm.MoveLink("current", current, runner); lerr != nil {
		return unit, lerr // an error of the start alone would be a verdict on it
	}
	return unit, err
}
