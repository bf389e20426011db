package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"ferry/internal/host/install"
	"ferry/internal/host/prove"
	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// committing is a deployment that changes the VM on its host.
type committing struct{ *deployment }

// commit goes on to its end though the operator's side is gone. From its first
// step on a note says how the VM was and what is under way, and a unit of its own
// stands by: whatever becomes of this process, the VM ends in the new state or in
// the one before. An error with RolledBack says that it is the latter.
func (d committing) commit(ctx context.Context, req hostapi.CommitRequest) (*hostapi.Committed, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), install.Timeout+req.Confirm.Within())
	defer cancel()
	seen, err := d.srv.see.Locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	before, err := d.vm.Snapshot(*seen)
	if err != nil {
		return nil, err
	}
	d.note.Runner, d.note.Commit, d.note.Before = req.Runner, &req, before
	if err := d.standBy(ctx); err != nil {
		d.note.Phase = "" // nothing has changed
		return nil, errors.Join(err, d.putNote())
	}
	done := &hostapi.Committed{Unit: seen.Unit}
	if err = d.install(ctx, req, seen); err == nil && req.Activation.Starts() {
		done.Unit, err = d.startUnit(ctx, req)
	}
	if err != nil {
		return nil, d.giveUp(ctx, err)
	}
	done.Generation = d.vm.Profile().Current()
	if d.note.Phase == hostapi.PhaseAwait {
		done.Deadline = d.note.Deadline
		return done, nil
	}
	return done, d.succeeded(req.Activation)
}

// standBy makes all that a commit's undo rests on, before anything has changed: the
// note, the guard, and what an undo would otherwise have to make itself.
func (d committing) standBy(ctx context.Context) (err error) {
	if d.note.Helper, err = d.keepHelper(); err != nil {
		return err
	}
	if err := d.phase(hostapi.PhaseCommit); err != nil {
		return err
	}
	if err := step.Do(step.Guard, func() error { return d.srv.guard(ctx, d.vm.Name(), d.note) }); err != nil {
		return err
	}
	return step.Do(step.WayBack, func() error {
		if !d.note.Reversible() {
			return nil
		}
		if err := d.keepBefore(ctx); err != nil {
			return err
		}
		return d.vm.PrepareUndo(&d.note)
	})
}

// keepHelper keeps this program for as long as the deployment.
func (d committing) keepHelper() (*vmstate.Helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding ferry's own program: %w", err)
	}
	return d.vm.Notes().KeepHelper(self)
}

// keepBefore roots all that an undo may start or link again. Nix makes the roots,
// so that a collector at work learns of them.
func (d committing) keepBefore(ctx context.Context) error {
	paths := slices.DeleteFunc(d.note.Before.Runners(), func(p microvm.StorePath) bool { return !d.srv.see.Layout.Has(p) })
	if len(paths) == 0 {
		return nil
	}
	if err := d.vm.Guest().MakeRoots(); err != nil {
		return err
	}
	err := d.srv.nix.AddRoots(ctx, d.vm.Roots().Before(), paths)
	if err == nil {
		return nil
	}
	// One that Nix does not know is no reason to keep none, nor to refuse a better one.
	missing, merr := d.srv.nix.Missing(ctx, paths)
	if merr != nil || len(missing) == 0 {
		return fmt.Errorf("keeping what may be started again: %w", errors.Join(err, merr))
	}
	for _, p := range missing {
		d.log(fmt.Sprintf("Nix does not know %s: an undo may not be able to start it again", p))
	}
	paths = slices.DeleteFunc(paths, func(p microvm.StorePath) bool { return slices.Contains(missing, p) })
	if len(paths) == 0 {
		return nil
	}
	return d.srv.nix.AddRoots(ctx, d.vm.Roots().Before(), paths)
}

// install moves the links, and notes what a live-switched guest runs.
func (d committing) install(ctx context.Context, req hostapi.CommitRequest, seen *hostapi.VMState) error {
	if req.GuestSystem != "" {
		invocation := d.unit.InvocationID
		if invocation == "" {
			invocation = seen.Unit.InvocationID
		}
		now := vmstate.Running{InvocationID: invocation, System: req.GuestSystem}
		err := step.Do(step.Running, func() error { return install.KeepRunning(ctx, d.srv.nix, d.vm.Guest(), now) })
		if err != nil {
			return err
		}
	}
	return install.Installation{VM: d.vm, Nix: d.srv.nix, Req: req, Before: d.note.Before}.Run(ctx)
}

// startUnit starts or restarts the unit and makes sure that the VM is well, as
// far as the host can tell; the rest is the operator's answer.
func (d committing) startUnit(ctx context.Context, req hostapi.CommitRequest) (hostapi.UnitState, error) {
	if err := errors.Join(d.phase(hostapi.PhaseRestart), d.vm.Notes().PutToStart()); err != nil {
		return hostapi.UnitState{}, err
	}
	var unit hostapi.UnitState
	err := step.Do(step.Restart, func() (err error) {
		unit, err = d.srv.units.Run(ctx, req.Name, req.Activation, d.log)
		return err
	})
	if err != nil {
		return unit, err
	}
	if err := d.started(unit); err != nil {
		return unit, err
	}
	if err := step.Do(step.Check, func() error { return d.proof().Checks(ctx, req.Confirm) }); err != nil {
		return unit, err
	}
	if !req.Confirm.Await {
		return unit, nil
	}
	d.note.Await(d.vm.Now(), req.Confirm.Within()+hostapi.Grace(req.Confirm.Within()))
	return unit, step.Do(step.Await, func() error { return d.phase(hostapi.PhaseAwait) })
}

// started notes the unit's start, without which a stop by somebody else can't be told:
// also for an undo that has no space.
func (d committing) started(unit hostapi.UnitState) error {
	d.note.Invocation, d.note.Restarts, d.note.Killed = unit.InvocationID, unit.Restarts, unit.Killed
	err := d.putNote()
	if d.note.Reversible() {
		err = errors.Join(err, d.vm.Notes().SpareUndo(&d.note))
	}
	return err
}

// proof is what shows that the unit that was started is well.
func (d *deployment) proof() prove.Unit {
	return prove.Unit{Units: d.srv.units, VM: d.vm.Name(), Invocation: d.note.Invocation, Log: d.log}
}

// succeeded notes that a commit is done; what remains is the history.
func (d *deployment) succeeded(how hostapi.Activation) error {
	var err error
	switch how {
	case hostapi.ActivateLive:
		err = d.vm.Guest().Settle()
	case hostapi.ActivateRestart, hostapi.ActivateStart:
		err = errors.Join(d.vm.Guest().Reset(), d.vm.Notes().DropToStart())
	}
	d.note.Outcome = map[hostapi.Activation]string{
		hostapi.ActivateNone: hostapi.OutcomeInstalled, hostapi.ActivateLive: hostapi.OutcomeSwitched,
		hostapi.ActivateRestart: hostapi.OutcomeRestarted, hostapi.ActivateStart: hostapi.OutcomeStarted,
	}[how]
	return errors.Join(err, d.phase(hostapi.PhaseDone))
}
