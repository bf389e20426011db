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
	log   func(string)
}

// run puts back all of it, exactly: `current` first, since that is what systemd
// would start at any moment, then generation, `flake`, `old` and the unit. It can
// be repeated from any point. The text says how things are; the error, that the VM
// does not run again though it did.
func (u undoing) run(ctx context.Context) (state string, err error) {
	u.log("undoing: " + u.note.Why)
	if err := step.Do(step.Undo, func() error {
		u.note.Phase = hostapi.PhaseUndo
		return u.vm.Notes().PutDeployment(u.note)
	}); err != nil {
		return "", err
	}
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

// links puts back what a deployment has changed on disk.
func (u undoing) links() error {
	b := u.note.Before
	err := errors.Join(
		step.Do(step.UndoLink, func() error { return u.vm.PutLink("current", b.Current) }),
		step.Do(step.UndoGen, func() error { return u.vm.Profile().Restore(b, u.note.Runner) }),
		step.Do(step.UndoRest, func() error { return errors.Join(u.vm.RestoreFlake(b), u.vm.PutLink("old", b.Old)) }),
	)
	if err != nil {
		return fmt.Errorf("undoing the installation: %w", err)
	}
	return nil
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
	unit, err := u.boot(ctx)
	switch {
	case err == nil:
		return fmt.Sprintf("the previous runner is current, and %s runs again (%s)", b.Boots(), unit.ActiveState), u.vm.Guest().Reset()
	case !b.Unit.Up(): // it did not run before
		return fmt.Sprintf("the previous runner is current again; it does not stay up, as before (%v)", err), nil
	}
	return "", &stillDownError{runner: b.Boots(), err: err}
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
func (u undoing) boot(ctx context.Context) (hostapi.UnitState, error) {
	b := u.note.Before
	if runner := b.Boots(); runner != b.Current {
		if err := u.vm.PutLink("current", runner); err != nil {
			return hostapi.UnitState{}, err
		}
	}
	unit, err := u.units.Run(ctx, u.vm.Name(), hostapi.ActivateRestart, u.log)
	return unit, errors.Join(err, u.vm.PutLink("current", b.Current))
}
