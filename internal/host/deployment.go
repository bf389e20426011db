package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/host/settle"
	"ferry/internal/host/undo"
	"ferry/internal/host/unfinished"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// deployment is the one that a session has: it holds the VM's lock until it ends.
// What it does in one part of its life has a type of its own: obtaining, committing,
// rebooting.
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

func (d *deployment) putNote() error {
	d.note.Stamp(d.vm.Now())
	return d.vm.Notes().PutDeployment(&d.note)
}

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

// giveUp ends a deployment that went wrong: undone where that is possible, and
// where the VM is still the one that the deployment has made.
func (d *deployment) giveUp(ctx context.Context, cause error) error {
	var foreign *vmstate.ForeignLinkError
	if errors.As(cause, &foreign) {
		cause = hostapi.Refuse(foreign.Error(), "see what is installed now, then deploy again")
	}
	if !d.note.Reversible() {
		return cause
	}
	failure := *hostapi.FailureOf(cause)
	if foreign != nil && foreign.Supersedes() { // `current` and the unit are theirs; the generation is not
		return d.yield(&failure, foreign, d.vm.Profile().Restore(d.note.Before, d.note.Runner))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undo.Timeout)
	defer cancel()
	d.note.Why = hostapi.Reason(failure.Message)
	entry := d.entry(hostapi.OutcomeFailed, failure.Message, "")
	state, err := d.takeBack(ctx, &entry)
	d.undone = &failure
	var down *undo.StillDownError
	switch {
	case errors.As(err, &foreign):
		return d.yield(&failure, foreign, nil)
	case errors.As(err, &down):
		failure.State = down.Error()
		entry = d.entry(hostapi.OutcomeRolledBack, failure.Message+"; "+failure.State, hostapi.SettledUndone)
		entry.Down = true
		return d.ended(&failure, entry)
	case err != nil:
		failure.State = fmt.Sprintf("it could not be undone: %v; the host tries again, see journalctl -u %s", err, GuardUnit(d.note.ID))
		d.letGo()
		return &failure
	}
	failure.State, failure.RolledBack = state, entry.Outcome == hostapi.OutcomeRolledBack && d.ranBefore()
	return d.ended(&failure, entry)
}

// yield ends a deployment in whose place somebody else has installed something,
// which stays.
func (d *deployment) yield(failure *hostapi.Failure, foreign *vmstate.ForeignLinkError, err error) error {
	if err != nil {
		d.log(err.Error())
	}
	failure.State = settle.SupersededBy(microvm.StorePath(foreign.Found))
	d.undone = failure
	return d.ended(failure, d.entry(hostapi.OutcomeFailed, failure.Message+"; "+failure.State, hostapi.SettledSuperseded))
}

// ended writes how the deployment has ended into the history.
func (d *deployment) ended(failure *hostapi.Failure, entry hostapi.HistoryEntry) error {
	if err := d.close(entry); err != nil {
		failure.State += fmt.Sprintf(" (the history could not be written: %v)", err)
	}
	return failure
}

// ranBefore: an undo could start what ran before, and had to start nothing else in
// its place.
func (d *deployment) ranBefore() bool {
	b := d.note.Before
	return !b.Unit.Up() || d.vm.Startable(b) == b.Boots()
}

// takeBack undoes what the world lets be undone. The state says how things are.
func (d *deployment) takeBack(ctx context.Context, entry *hostapi.HistoryEntry) (state string, err error) {
	seen, err := d.srv.see.Locate(ctx, d.vm.Name())
	if err != nil { // the guard goes on with it
		return "", errors.Join(err, d.phase(hostapi.PhaseUndo))
	}
	world := d.srv.unfinished().World(seen)
	back := undo.Undo{VM: d.vm, Units: d.srv.units, Note: &d.note, Log: d.log}
	untouched := d.note.Phase == hostapi.PhaseCommit // by the deployment
	switch settle.Judge(&d.note, world, settle.Session) {
	case settle.Superseded:
		entry.Settled = hostapi.SettledSuperseded
		return settle.SupersededBy(world.Current), nil
	case settle.Unconfirmed:
		entry.Settled = hostapi.SettledUnconfirmed
		return "somebody else has started the VM since; it runs what was deployed, and was not touched", nil
	case settle.UndoLinks:
		back.Units, entry.Settled = undo.Resting{Units: d.srv.units}, hostapi.SettledUndone
		_, err := back.Run(ctx)
		if untouched {
			entry.Outcome, entry.Settled = hostapi.OutcomeRolledBack, ""
			return undo.AtRest(&d.note, world), err
		}
		return undo.AtRest(&d.note, world) + ": somebody else has stopped or started it since", err
	}
	entry.Outcome = hostapi.OutcomeRolledBack
	return back.Run(ctx)
}

// undo undoes the deployment because the operator says so.
func (d *deployment) undo(ctx context.Context, req hostapi.UndoRequest) (*hostapi.Undone, error) {
	if d.note.Phase != hostapi.PhaseAwait || !d.note.Reversible() {
		return nil, hostapi.Refuse("there is nothing that could be undone", "")
	}
	failure := hostapi.FailureOf(d.giveUp(ctx, &hostapi.Failure{Kind: hostapi.KindFailed, Message: req.Why}))
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
		if err := errors.Join(d.stillCurrent(ctx), d.proof().StayedUp(ctx, d.note.Started)); err != nil {
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

// stillCurrent fails where somebody has installed something else meanwhile.
func (d *deployment) stillCurrent(ctx context.Context) error {
	seen, err := d.srv.see.Locate(ctx, d.vm.Name())
	if err != nil || seen.Current == d.note.Runner {
		return err
	}
	return &hostapi.Failure{Kind: hostapi.KindFailed, Message: "somebody else has installed another runner meanwhile"}
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
	return d.close(d.entry(outcome, failure, ""))
}

func (d *deployment) close(entry hostapi.HistoryEntry) error {
	defer d.letGo()
	return unfinished.Close(d.vm, entry)
}

// entry is the deployment's in the history.
func (d *deployment) entry(outcome, failure string, settled hostapi.Settled) hostapi.HistoryEntry {
	return hostapi.HistoryEntry{
		Deployment: d.note.Deployment, Ended: time.Now().UTC(),
		Outcome: outcome, Error: failure, Runner: d.note.Runner, Settled: settled, Killed: d.note.Killed,
	}
}
