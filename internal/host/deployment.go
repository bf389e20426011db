package host

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
)

// deployment is the one that a session has: it holds the VM's lock until it ends.
type deployment struct {
	srv  *Server
	vm   vmstate.VM
	lock *vmstate.Held // nil once it has ended
	note vmstate.Note
	unit hostapi.UnitState // when the live switch was announced
	say  func(string)      // tells the operator
	// baselined yields whether the guest was in reach when the deployment began; nil:
	// nobody has asked.
	baselined chan *vmstate.LastResort
	// undone is what further requests are answered with, once the session has
	// undone its deployment.
	undone *hostapi.Failure
}

// take is the deployment of that note, whose VM's lock is held.
func (s *session) take(vm vmstate.VM, lock *vmstate.Held, note vmstate.Note) *deployment {
	return &deployment{srv: s.srv, vm: vm, lock: lock, note: note, say: s.say}
}

// log tells the operator, and whoever attaches to the deployment later.
func (d *deployment) log(line string) {
	d.say(line)
	if d.lock != nil {
		d.vm.Log(d.note.ID).Append(line)
	}
}

func (d *deployment) putNote() error { return d.vm.Notes().PutDeployment(&d.note) }

// phase notes how far the deployment is.
func (d *deployment) phase(p hostapi.Phase) error {
	d.note.Phase = p
	return d.putNote()
}

// letGo leaves the deployment to the guard, which finds its note.
func (d *deployment) letGo() {
	d.lock.Release()
	d.lock = nil
}

// giveUp ends a deployment that went wrong: undone where that is possible.
func (d *deployment) giveUp(ctx context.Context, cause error) error {
	if !d.note.Reversible() {
		return cause
	}
	failure := *asFailure(cause)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	d.note.Why = hostapi.Reason(failure.Message)
	state, err := undoing{vm: d.vm, units: d.srv.units, note: &d.note, log: d.log}.run(ctx)
	d.undone = &failure
	if err != nil {
		failure.State = fmt.Sprintf("it could not be undone: %v; the host tries again, see journalctl -u %s", err, GuardUnit(d.note.ID))
		d.letGo()
		return &failure
	}
	failure.RolledBack, failure.State = true, state
	if err := d.end(hostapi.OutcomeRolledBack, failure.Message); err != nil {
		failure.State += fmt.Sprintf(" (the history could not be written: %v)", err)
	}
	return &failure
}

// undo undoes the deployment because the operator says so.
func (d *deployment) undo(ctx context.Context, req hostapi.UndoRequest) (*hostapi.Undone, error) {
	if d.note.Phase != hostapi.PhaseAwait || !d.note.Reversible() {
		return nil, hostapi.Refuse("there is nothing that could be undone", "")
	}
	failure := asFailure(d.giveUp(ctx, &hostapi.Failure{Kind: hostapi.KindFailed, Message: req.Why}))
	if !failure.RolledBack {
		return nil, failure
	}
	return &hostapi.Undone{State: failure.State}, nil
}

// expire is what happens when the operator's answer comes too late.
func (d *deployment) expire(ctx context.Context) {
	if !d.note.Reversible() { // nothing to undo: it stays as it is
		d.note.Phase = hostapi.PhaseRestart
		return
	}
	why := "nobody has confirmed it by " + d.note.Deadline.Local().Format(time.TimeOnly)
	_ = d.giveUp(ctx, &hostapi.Failure{Kind: hostapi.KindFailed, Message: why})
}

// finish is the operator's last word. Where it was awaited, the unit must still
// be up.
func (d *deployment) finish(ctx context.Context, outcome, why string) error {
	good := outcome != hostapi.OutcomeFailed && outcome != hostapi.OutcomeRolledBack
	switch phase := d.note.Phase; {
	case (phase == hostapi.PhaseAwait || phase == hostapi.PhaseRestart) && good:
		if err := d.stayedUp(ctx, d.note.Started); err != nil {
			return d.giveUp(ctx, err)
		}
		if err := d.succeeded(d.note.Commit.Activation); err != nil {
			return err
		}
	case phase == hostapi.PhaseCommit && d.note.Commit.Activation == hostapi.ActivateLive:
		d.letGo() // the guest was confirmed: the guard finishes what failed here
		return nil
	}
	return d.end(outcome, why)
}

// abandon ends a deployment whose operator's side left without finishing. What
// has changed the VM is left to the guard, an announced live switch to the next
// run, which asks the guest.
func (d *deployment) abandon() {
	switch {
	case d.note.Phase == hostapi.PhaseDone:
		_ = d.end(d.note.Outcome, "")
	case d.note.Phase != "" || d.note.Activating:
		d.letGo()
	default:
		_ = d.end(hostapi.OutcomeInterrupted, "")
	}
}

// end closes the deployment: history written, roots and lock let go.
func (d *deployment) end(outcome, failure string) error {
	defer d.letGo()
	return closeDeployment(d.vm, hostapi.HistoryEntry{
		Deployment: d.note.Deployment, Ended: time.Now().UTC(),
		Outcome: outcome, Error: failure, Runner: d.note.Runner,
	})
}

// closeDeployment writes a deployment into the history, then forgets it.
func closeDeployment(vm vmstate.VM, entry hostapi.HistoryEntry) error {
	if err := step.Do(step.History, func() error { return vm.History().Append(entry) }); err != nil {
		return err
	}
	return step.Do(step.Forget, vm.Forget)
}
