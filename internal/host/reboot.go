package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// rebootTimeout bounds a restart as a last resort, but for the guest's boot: a stop
// and a start.
const rebootTimeout = 10 * time.Minute

// baseline begins to find out whether this host can connect to the guest; what it has
// found is noted with the switch.
func (d *deployment) baseline(ctx context.Context, door *hostapi.GuestDoor) {
	if door == nil || validDoor(*door) != nil {
		return
	}
	found, look := make(chan *vmstate.LastResort, 1), d.srv.lookout
	go func() {
		found <- &vmstate.LastResort{Door: *door, Reached: look.knock(ctx, *door) == nil}
	}()
	d.baselined = found
}

// lastResort is what was found out by now, for a unit as it is when the switch is
// announced; nil: nothing was asked for.
func (d *deployment) lastResort(unit hostapi.UnitState) *vmstate.LastResort {
	if d.baselined == nil {
		return nil
	}
	l := <-d.baselined
	l.Invocation = unit.InvocationID
	return l
}

// rebooting is a deployment whose guest nobody reaches after a live switch.
type rebooting struct{ *deployment }

// reboot restarts the VM as a last resort, where all holds that this takes; the answer
// says what does not. What the operator's side has seen (the guest has had its time to
// go back, and is out of reach) is its word.
func (d rebooting) reboot(ctx context.Context, req hostapi.RebootRequest) (*hostapi.Rebooted, error) {
	l := d.note.LastResort
	switch {
	case req.ID != d.note.ID || !d.note.Activating || d.note.Phase != "" || d.note.Commit == nil:
		return nil, hostapi.Refuse(fmt.Sprintf("deployment %.64q is not a live switch under way", req.ID), "")
	case l == nil:
		return &hostapi.Rebooted{Why: "whether this host could reach the guest before is not known"}, nil
	}
	seen, err := d.srv.see.Locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	ran := cmp.Or(l.Ran, req.Ran, seen.Running)
	done := &hostapi.Rebooted{Before: l.Reached, Ran: ran}
	again := seen.Unit.InvocationID != l.Invocation
	if !l.Made.IsZero() && again { // asked before, over a connection that was lost
		return d.rebooted(ctx, req, done)
	}
	why := d.spared(*seen, again)
	window := time.Duration(0) // one try
	if why == "" {
		window = d.srv.lookout.quiet()
	}
	d.log(fmt.Sprintf("looking from here whether the guest of %s answers at %s", req.Name, l.Door.Address()))
	if done.Reached = d.srv.lookout.reaches(ctx, l.Door, window); done.Reached || why != "" {
		done.Why = why
		return done, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.Made, l.Ran, l.Current = time.Now().UTC(), ran, seen.Current
	l.Boots, l.Why = d.boots(*seen, ran)
	if err := d.putNote(); err != nil {
		return nil, err
	}
	if err := step.Do(step.Reboot, func() error { return d.restartOnce(ctx, *seen) }); err != nil {
		d.log(err.Error())
		l.Why += fmt.Sprintf(", but it does not stay up: %v", err)
		done.Restarted, done.Runner, done.Why = true, l.Boots, l.Why
		return done, nil
	}
	return d.rebooted(ctx, req, done)
}

// spared says why a VM is not restarted though its guest is out of reach; empty: it is.
func (d rebooting) spared(seen hostapi.VMState, again bool) string {
	l := d.note.LastResort
	switch {
	case d.note.Commit.Confirm.NoRollback:
		return "it is not restarted because of --no-rollback"
	case l.Door.NoRestart:
		return "it is not restarted because of --restart=never"
	case !l.Reached:
		return "this host could not reach it when the deployment began either, so it is not restarted"
	case !seen.Unit.Up():
		return fmt.Sprintf("its unit is %s, so it is not restarted", seen.Unit.ActiveState)
	case again:
		return "its unit was started again since the switch began, so it is not restarted once more"
	}
	return ""
}

// boots is the runner that brings back what the guest ran, and how that differs, in
// words: what it had booted, else what is installed.
func (d rebooting) boots(seen hostapi.VMState, ran microvm.StorePath) (microvm.StorePath, string) {
	inside := d.srv.see.SystemIn
	switch {
	case seen.Booted != "" && inside(seen.Booted) == ran && seen.Booted != seen.Current:
		return seen.Booted, fmt.Sprintf("it boots %s, as before; `current` is %s, which the next restart boots", seen.Booted, seen.Current)
	case seen.Booted == seen.Current && inside(seen.Current) == ran:
		return seen.Current, fmt.Sprintf("it boots %s, as before", seen.Current)
	case inside(seen.Current) == ran:
		return seen.Current, fmt.Sprintf("it boots %s, to whose system it had been switched live; before, its unit had booted %s", seen.Current, cmp.Or(seen.Booted, "another runner"))
	}
	return seen.Current, fmt.Sprintf("it boots %s, which is installed; before, the guest ran %s, which neither that nor the booted runner has", seen.Current, cmp.Or(ran, "a system that is not known"))
}

// restartOnce goes on to its end though the operator's side is gone. `current` names
// what is booted for as long as the start takes.
func (d rebooting) restartOnce(ctx context.Context, seen hostapi.VMState) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rebootTimeout)
	defer cancel()
	l := d.note.LastResort
	d.log("the guest is out of reach: restarting the VM as a last resort; " + l.Why)
	if l.Boots != seen.Current {
		if err := d.vm.MoveLink("current", l.Boots, seen.Current); err != nil {
			return err
		}
	}
	_, err := d.srv.units.Run(ctx, d.vm.Name(), hostapi.ActivateRestart, d.log)
	if l.Boots != seen.Current {
		back := d.vm.MoveLink("current", seen.Current, l.Boots)
		l.Back = back == nil
		if perr := d.putNote(); perr != nil {
			d.log(perr.Error())
		}
		err = errors.Join(err, back)
	}
	if err != nil {
		return err
	}
	return d.vm.Guest().Reset()
}

// rebooted waits until this host reaches the guest again.
func (d rebooting) rebooted(ctx context.Context, req hostapi.RebootRequest, done *hostapi.Rebooted) (*hostapi.Rebooted, error) {
	l := d.note.LastResort
	boot := time.Duration(min(max(req.Seconds, 1), 3600)) * time.Second
	d.log(fmt.Sprintf("waiting up to %s until the guest answers at %s", boot, l.Door.Address()))
	done.Reached = d.srv.lookout.reaches(ctx, l.Door, boot)
	done.Restarted, done.Runner, done.System, done.Why = true, l.Boots, d.srv.see.SystemIn(l.Boots), l.Why
	return done, ctx.Err()
}

// putBack gives `current` back what a restart of this deployment has left changed.
func (d *deployment) putBack(ctx context.Context) error {
	seen, err := d.srv.see.Locate(ctx, d.vm.Name())
	if err != nil {
		return err
	}
	return d.note.LastResort.PutBack(d.vm, seen.Current)
}
