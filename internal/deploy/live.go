package deploy

import (
	"context"
	"fmt"
	"io"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	// switchStart bounds what precedes a switch: the registration, the profile.
	switchStart = 10 * time.Minute
	// afterConfirm bounds what follows the confirmation: the commit.
	afterConfirm = 20 * time.Minute
)

// switchLive switches the running guest, makes sure over a new connection that
// it runs the new system, and only then moves `current` on the host.
func (d *deployment) switchLive(ctx context.Context) error {
	if d.req.Action != hostapi.ActionDryActivate {
		d.remember(*d.liveCommit())
		req := hostapi.ActivateRequest{Name: d.req.Name, Runner: d.plan.Runner, Commit: d.liveCommit()}
		if err := d.session.Call(ctx, hostapi.Request{Activate: &req}, nil); err != nil {
			return err
		}
	}
	sw := d.guestSwitch()
	if sw.RegInfo == "" {
		reg, err := d.registration(ctx)
		if err != nil {
			return err
		}
		sw.Registration = reg
	}
	if err := d.runInGuest(ctx, sw); err != nil {
		return err
	}
	return d.commitLive(ctx)
}

// liveCommit is what the host has to do once the guest is confirmed.
func (d *deployment) liveCommit() *hostapi.CommitRequest {
	c := d.complete(hostapi.CommitRequest{Install: d.plan.Install, Activation: hostapi.ActivateLive, GuestSystem: d.plan.System})
	c.Confirm = d.confirmation()
	c.Confirm.Seconds = int(d.req.Confirm.within(confirmLive).Seconds())
	return &c
}

// commitLive tells the host that the guest is confirmed.
func (d *deployment) commitLive(ctx context.Context) error {
	// The guest stays as it is now: what is left must follow, also after Ctrl-C.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterConfirm)
	defer cancel()
	switch d.req.Action {
	case hostapi.ActionDryActivate:
		return d.finish(ctx, OutcomeDryActivated)
	case hostapi.ActionTest:
		d.state = "the guest runs the new system; `current` and the profile are as they were"
		if err := d.observe(ctx, false); err != nil {
			return err
		}
		return d.finish(ctx, OutcomeTested)
	}
	d.state = "the guest runs the new system, but `current` on the host is the old runner: running the same command again finishes this"
	done, err := d.commit(ctx, *d.liveCommit())
	if err != nil {
		return err
	}
	d.result.Generation = done.Generation
	d.state = "switched and installed"
	return d.finish(ctx, OutcomeSwitched)
}

// confirmLive goes on with a switch that an earlier run has begun.
func (d *deployment) confirmLive(ctx context.Context, sw guest.Switch) error {
	sw.NoRollback = d.req.Confirm.NoRollback
	d.guest.open = true
	answer, err := d.seeSwitch(ctx, sw)
	if err := d.decided(ctx, sw, answer, err); err != nil {
		return err
	}
	return d.commitLive(ctx)
}

// runInGuest does the switch and confirms it, or has it undone.
func (d *deployment) runInGuest(ctx context.Context, sw guest.Switch) error {
	c := d.req.Confirm
	sw.Window, sw.Limit, sw.NoRollback = c.within(confirmLive)+hostapi.Grace(c.within(confirmLive)), c.ActivationLimit, c.NoRollback
	d.step("%s in %s: %s", sw.Action, d.req.Target, microvm.SystemBaseName(string(sw.System)))
	if sw.Action == string(hostapi.ActionDryActivate) {
		return d.dryActivate(ctx, sw)
	}
	answer, err := d.switchAndConfirm(ctx, sw)
	return d.decided(ctx, sw, answer, err)
}

// decided ends a switch: kept, left or undone.
func (d *deployment) decided(ctx context.Context, sw guest.Switch, answer guest.ConfirmAnswer, err error) error {
	switch {
	case isRefused(err):
		d.guest.open = false
		return err
	case err != nil && sw.NoRollback:
		return d.leaveGuest(ctx, err)
	case err != nil:
		if err = d.undoGuest(ctx, sw, err); err != nil {
			return err
		}
		answer.BootID = d.guest.facts.BootID // it was confirmed after all
	}
	d.guest.open = false
	d.guest.facts.Current, d.guest.facts.BootID = sw.System, answer.BootID
	d.result.BootID = answer.BootID
	return nil
}

func (d *deployment) dryActivate(ctx context.Context, sw guest.Switch) error {
	if err := d.start(ctx, sw); err != nil {
		return err
	}
	return d.followSwitch(ctx, sw)
}

// switchAndConfirm is the way forward. Whatever fails on it is undone.
func (d *deployment) switchAndConfirm(ctx context.Context, sw guest.Switch) (guest.ConfirmAnswer, error) {
	none := guest.ConfirmAnswer{}
	d.guest.open = true
	d.state = "the guest undoes the switch by itself when it has ended and nobody confirms it; `current` on the host is unchanged; running the same command again settles it"
	if sw.NoRollback {
		d.state = fmt.Sprintf("the switch goes on in the guest as unit ferry-switch-%s; `current` on the host is unchanged; running the same command again settles it", sw.ID)
	}
	if err := d.start(ctx, sw); err != nil {
		return none, err
	}
	return d.seeSwitch(ctx, sw)
}

// seeSwitch follows a switch to its end and confirms it.
func (d *deployment) seeSwitch(ctx context.Context, sw guest.Switch) (guest.ConfirmAnswer, error) {
	none := guest.ConfirmAnswer{}
	if err := d.followSwitch(ctx, sw); err != nil {
		return none, err
	}
	within := d.req.Confirm.within(confirmLive)
	until := time.Now().Add(within)
	if !sw.NoRollback {
		d.state = fmt.Sprintf("the guest undoes the switch by itself at %s if nobody confirms it; `current` on the host is unchanged; running the same command again settles it",
			until.Add(hostapi.Grace(within)).Format(time.TimeOnly))
	}
	if err := d.checkOnHost(ctx, until); err != nil {
		return none, err
	}
	return d.confirmGuest(ctx, sw, until)
}

func (d *deployment) start(ctx context.Context, sw guest.Switch) error {
	ctx, cancel := context.WithTimeout(ctx, switchStart)
	defer cancel()
	return guest.Start(ctx, d.guest.conn, sw)
}

// followSwitch shows the switch's output until it has ended. The error has the
// end of that output.
func (d *deployment) followSwitch(ctx context.Context, sw guest.Switch) error {
	log := &logTail{to: d.Report.Log(d.subject())}
	defer log.to.Close()
	status, err := d.follow(ctx, sw.ID, log)
	if err != nil {
		return err
	}
	if status.Code == 4 && d.req.Confirm.AcceptFailedUnits {
		d.Report.Warn("%s: units failed in the guest; accepted", d.req.Name)
		return nil
	}
	if err = switchFailure(status, d.req.Target); err == nil {
		return nil
	}
	if status.Late {
		err = fmt.Errorf("the switch in the guest at %s took longer than %s, the activation limit", d.req.Target, sw.Limit)
	}
	return &hostapi.Failure{Kind: hostapi.KindFailed, Message: err.Error(), Log: log.lines}
}

func (d *deployment) follow(ctx context.Context, id string, log io.Writer) (guest.Status, error) {
	var status guest.Status
	var offset int64
	err := d.following(ctx, func(sh guest.Shell) (err error) {
		status, offset, err = guest.Follow(ctx, sh, id, offset, log)
		return err
	})
	return status, err
}

func switchFailure(s guest.Status, target *microvm.Address) error {
	switch {
	case s.Lost:
		return fmt.Errorf("the guest at %s was booted while it was being switched", target)
	case s.Died, s.Late:
		return fmt.Errorf("the switch in the guest at %s was ended before it was done", target)
	case s.Code == 4:
		return fmt.Errorf("units failed in the guest at %s (exit status 4 of switch-to-configuration)", target)
	case s.Code != 0:
		return fmt.Errorf("switch-to-configuration in the guest at %s failed with exit status %d", target, s.Code)
	}
	return nil
}

// leaveGuest ends a failed switch that is not to be undone: the host notes what
// the guest runs.
func (d *deployment) leaveGuest(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	ctx, cancel := context.WithTimeout(ctx, guestReturn)
	defer cancel()
	facts, err := d.askAgain(ctx)
	if err != nil {
		d.Report.Warn("the guest at %s can't be asked what it runs: %v", d.req.Target, err)
		return cause
	}
	if facts.Switching != "" {
		return cause
	}
	d.guest.open, d.guest.facts = false, facts
	d.result.BootID = facts.BootID
	d.state = fmt.Sprintf("the guest runs %s; `current` on the host is unchanged", orUnknown(facts.Current))
	d.tellHost(ctx, true)
	return cause
}

// askAgain asks the guest over a connection of its own what it runs.
func (d *deployment) askAgain(ctx context.Context) (guest.Facts, error) {
	conn, err := d.reach(ctx, time.Now().Add(guestReturn))
	if err != nil {
		return guest.Facts{}, err
	}
	defer conn.Close()
	return guest.Look(ctx, conn, "")
}

// observe tells the host what the guest runs, so that it is kept there.
func (d *deployment) observe(ctx context.Context, failed bool) error {
	req := hostapi.ObserveRequest{Name: d.req.Name, System: d.guest.current(), Failed: failed}
	return d.session.Call(ctx, hostapi.Request{Observe: &req}, nil)
}

// tellHost observes, also where the connection to the host was lost meanwhile.
func (d *deployment) tellHost(ctx context.Context, failed bool) {
	if d.session == nil || d.guest.current() == "" || !d.mayTell(d.guest.current()) {
		return
	}
	err := d.observe(ctx, failed)
	if isLost(err) {
		if _, err = d.reattach(ctx, err); err == nil {
			err = d.observe(ctx, failed)
		}
	}
	if err != nil {
		d.Report.Warn("the host could not note what the guest runs: %v", err)
	}
}

// registration has the host dump what the system's closure is registered with,
// for runners that carry no registration of their own.
func (d *deployment) registration(ctx context.Context) (io.Reader, error) {
	return d.session.Registration(ctx, d.plan.System)
}
