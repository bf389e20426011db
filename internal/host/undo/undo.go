// Package undo puts a VM back to what it was before a deployment: links, generation and
// unit. It can be repeated from any point. It must not know who undoes, or what is
// written down of it.
package undo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/host/settle"
	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

// Timeout bounds an undo: a stop of the new runner, and a start of the old.
const Timeout = 10 * time.Minute

// Units is what it needs of systemd.
type Units interface {
	Unit(ctx context.Context, name string) (systemd.Unit, error)
	Run(ctx context.Context, n microvm.Name, how hostapi.Activation, log func(string)) (hostapi.UnitState, error)
	Stop(ctx context.Context, n microvm.Name, log func(string)) (hostapi.UnitState, error)
}

// Undo puts a VM back to what it was before a deployment.
type Undo struct {
	VM    vmstate.VM
	Units Units
	Note  *vmstate.Note
	// Started remembers how the start of what ran before has ended; nil where there
	// is one try.
	Started *vmstate.UndoStart
	Log     func(string)
}

// Run puts back all of it, exactly: `current` first, since that is what systemd
// would start at any moment, then generation, `flake`, `old` and the unit. It can
// be repeated from any point, and needs no space on a disk where a way back was
// made before. The text says how things are; the error, that the VM does not run
// again though it did, or what is to be tried again.
func (u Undo) Run(ctx context.Context) (state string, err error) {
	u.Log("undoing: " + u.Note.Why)
	u.Note.Phase = hostapi.PhaseUndo
	if err := step.Do(step.Undo, func() error { return u.VM.Notes().PutUndo(u.Note) }); err != nil {
		return "", err
	}
	state, err = u.putBack(ctx)
	if err != nil {
		u.Note.LastError = err.Error()
		_ = u.VM.Notes().PutUndo(u.Note) // for people; what decides is noted already
	}
	return state, err
}

func (u Undo) putBack(ctx context.Context) (state string, err error) {
	if err := u.links(); err != nil {
		return "", err
	}
	state = "the previous runner is current, and what runs was not touched"
	if u.Note.Commit.Activation.Starts() {
		err = step.Do(step.UndoUnit, func() error { state, err = u.unit(ctx); return err })
	}
	if err != nil {
		return "", err
	}
	err = u.toStart()
	if u.Note.Before.Current == "" {
		err = errors.Join(err, u.VM.Withdraw(u.Note.Before))
	}
	return state, err
}

// toStart forgets that the deployment wanted the VM up.
func (u Undo) toStart() error {
	if u.Note.Before.ToStart {
		return nil
	}
	return u.VM.Notes().DropToStart()
}

// links puts back what a deployment has changed on disk. Where `current` is somebody
// else's, nothing is touched, and the error says so; such an `old` just stays.
func (u Undo) links() error {
	b, n := u.Note.Before, u.Note.Runner
	err := step.Do(step.UndoLink, func() error { return u.VM.MoveLink("current", u.current(), n, b.Current, b.Boots()) })
	var foreign *vmstate.ForeignLinkError
	if errors.As(err, &foreign) {
		return err
	}
	err = errors.Join(
		err,
		step.Do(step.UndoGen, func() error { return u.VM.Profile().Restore(b, n) }),
		step.Do(step.UndoRest, func() error {
			err := u.VM.MoveLink("old", b.Old, b.Current)
			if errors.As(err, &foreign) {
				u.Log(foreign.Error() + "; it stays")
				err = nil
			}
			return errors.Join(u.VM.RestoreFlake(b, u.Note.Commit.UpdateFlake), err)
		}),
	)
	if err != nil {
		return fmt.Errorf("undoing the installation: %w", err)
	}
	return nil
}

// current is what `current` is to be again: what it was, unless that is gone and
// another runner is there.
func (u Undo) current() microvm.StorePath {
	b := u.Note.Before
	if can := u.VM.Startable(b); b.Current != "" && can != "" && !u.VM.CanStart(b.Current) {
		return can
	}
	return b.Current
}

// unit brings the unit back to what it was: left alone where it was not touched,
// stopped where it was stopped, else started with what ran.
func (u Undo) unit(ctx context.Context) (string, error) {
	n, b := u.VM.Name(), u.Note.Before
	now, err := u.Units.Unit(ctx, n.Unit())
	if err != nil {
		return "", err
	}
	switch {
	case b.Unit.Up() && now.Up() && now.InvocationID == b.Unit.InvocationID:
		return "the previous runner is current, and the VM was not restarted", nil
	case b.Unit.Stopped() || b.Current == "":
		if !now.Stopped() {
			if _, err := u.Units.Stop(ctx, n, u.Log); err != nil {
				return "", fmt.Errorf("stopping the new runner: %w", err)
			}
		}
		if b.Current == "" {
			return "the VM was new: stopped and uninstalled", nil
		}
		return "the previous runner is current again, and the VM is stopped as before", nil
	}
	runner := u.VM.Startable(b)
	unit, err := u.bringUp(ctx, runner, now.UnitState)
	var down *StillDownError
	switch {
	case err == nil:
		return fmt.Sprintf("the previous runner is current, and %s (%s)%s", again(runner, unit), unit.ActiveState, instead(b, runner)), u.VM.Guest().Reset()
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

// StillDownError: all is as it was, but what ran does not start any more.
type StillDownError struct {
	runner microvm.StorePath
	err    error
}

func (e *StillDownError) Error() string {
	return fmt.Sprintf("the previous runner %s is current again, but does not start either: %v", e.runner, e.err)
}
func (e *StillDownError) Unwrap() error { return e.err }

// bringUp starts the unit with a runner that ran before, once: how that has ended
// is noted, and a further try only tells it.
func (u Undo) bringUp(ctx context.Context, runner microvm.StorePath, now hostapi.UnitState) (hostapi.UnitState, error) {
	if runner == "" {
		return now, &StillDownError{runner: u.Note.Before.Boots(), err: errors.New("it is gone from the store, and so are those before it")}
	}
	if now.Up() && runner != u.Note.Runner && u.VM.Booted() == runner {
		return now, nil // an earlier try, which ended before it could say so
	}
	if last := u.lastStart(runner); last != nil {
		if last.Failed() {
			return now, &StillDownError{runner: runner, err: errors.New(last.Error)}
		}
		return now, nil
	}
	unit, err := u.boot(ctx, runner)
	var failed *hostapi.Failure
	if err != nil && !errors.As(err, &failed) {
		return unit, err
	}
	if _, lost := u.Units.Unit(ctx, u.VM.Name().Unit()); lost != nil { // so the failure may not be the runner's
		return unit, errors.Join(err, lost)
	}
	u.remember(vmstate.NewUndoStart(u.VM.Now(), runner, err))
	if err != nil {
		return unit, &StillDownError{runner: runner, err: err}
	}
	return unit, nil
}

// lastStart is the start of that runner that was made in this undo already; nil
// where there was none since the host has booted.
func (u Undo) lastStart(runner microvm.StorePath) *vmstate.UndoStart {
	for _, s := range []*vmstate.UndoStart{u.Note.UndoStarted, u.Started} {
		if s.Counts(u.VM.Now(), runner) {
			return s
		}
	}
	return nil
}

// remember notes how a start has ended, or keeps it in memory where there is no
// space for that.
func (u Undo) remember(s vmstate.UndoStart) {
	u.Note.UndoStarted = &s
	if u.Started != nil {
		*u.Started = s
	}
	if err := u.VM.Notes().PutUndo(u.Note); err != nil {
		u.Log(err.Error())
	}
}

// boot starts the unit with a runner that `current` may not name: then it does so
// for as long as the start takes.
func (u Undo) boot(ctx context.Context, runner microvm.StorePath) (hostapi.UnitState, error) {
	current := u.current()
	if err := u.VM.MoveLink("current", runner, current); err != nil {
		return hostapi.UnitState{}, err
	}
	unit, err := u.Units.Run(ctx, u.VM.Name(), hostapi.ActivateRestart, u.Log)
	if lerr := u.VM.MoveLink("current", current, runner); lerr != nil {
		return unit, lerr // an error of the start alone would be a verdict on it
	}
	return unit, err
}

// Resting is systemd for whoever puts links back and touches no unit, as while
// the machine boots.
type Resting struct{ Units }

// Run starts nothing.
func (Resting) Run(context.Context, microvm.Name, hostapi.Activation, func(string)) (hostapi.UnitState, error) {
	return hostapi.UnitState{ActiveState: "inactive"}, nil
}

// Stop stops nothing.
func (Resting) Stop(context.Context, microvm.Name, func(string)) (hostapi.UnitState, error) {
	return hostapi.UnitState{ActiveState: "inactive"}, nil
}

// AtRest is how things are once links were put back and no unit was touched.
func AtRest(note *vmstate.Note, world settle.World) string {
	switch {
	case note.Before.Current == "":
		return "the VM was new: uninstalled"
	case !world.Unit.Runs():
		return "the previous runner is current again, and the VM was not started"
	case world.Booted == note.Runner:
		return "the previous runner is current again, and the VM still runs the deployment's"
	}
	return "the previous runner is current again, and what runs was not touched"
}
