package deploy

import (
	"context"
	"fmt"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
)

// switchOnly activates what was installed before, as microvm.deploy.sshSwitch
// does. Where the host is known it keeps the running system from garbage
// collection; without it only the guest is asked.
func (d *deployment) switchOnly(ctx context.Context) error {
	if why := d.record.LiveObstacle(); why != "" {
		return &RefusedError{
			Message: fmt.Sprintf("%s can't be switched while it runs: %s", d.req.Attribute, why),
			Next:    fmt.Sprintf("ferry rebuild %s restarts it instead", d.req.Attribute),
		}
	}
	if d.req.Target == nil {
		return &UsageError{
			Message: fmt.Sprintf("the target of %s is not known", d.req.Attribute),
			Next:    fmt.Sprintf("name it (ferry switch %s root@target) or set ferry.vms.%s.target in the flake", d.req.Attribute, d.req.Attribute),
		}
	}
	if d.req.Host == nil {
		return d.switchWithoutHost(ctx)
	}
	if err := d.connectHost(ctx); err != nil {
		return err
	}
	if d.mustWait() {
		return d.switchPrepared(ctx)
	}
	if err := d.isSwitchable(); err != nil {
		return err
	}
	if err := d.lookAtGuest(ctx); err != nil {
		return err
	}
	if d.guest.current() == systemOut(&d.record) && d.guest.current() == d.facts.VM.Running && !d.facts.VM.Unsure {
		d.result.fromPlan(d.plan)
		d.result.Outcome = OutcomeUnchanged
		return nil
	}
	if d.req.DryRun {
		d.result.fromPlan(d.plan)
		d.result.Outcome = OutcomeDryRun
		return nil
	}
	return d.switchPrepared(ctx)
}

// isSwitchable refuses what is not installed or does not run.
func (d *deployment) isSwitchable() error {
	if !d.facts.Built {
		return &RefusedError{
			Message: fmt.Sprintf("%s is not installed on %s in this configuration (%s)", d.req.Attribute, d.req.Host, d.record.Runner.Out),
			Next:    fmt.Sprintf("ferry install %s, or ferry rebuild %s for both steps", d.req.Attribute, d.req.Attribute),
		}
	}
	if !d.facts.VM.Unit.Up() {
		return &RefusedError{
			Message: fmt.Sprintf("%s is not running", d.req.Name),
			Next:    "start it on the host: systemctl start " + d.req.Name.Unit(),
		}
	}
	return nil
}

// switchPrepared is the switch from the moment on at which nobody else works on
// the VM.
func (d *deployment) switchPrepared(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.isSwitchable(); err != nil { // as it is now
		return err
	}
	d.plan.Runner = d.record.Runner.Out
	if err := d.decide(ctx); err != nil {
		return err
	}
	d.plan.Install, d.plan.WriteFlake = false, false
	if d.plan.Activation != hostapi.ActivateLive {
		return d.carryOut(ctx)
	}
	return d.switchLive(ctx)
}

// switchWithoutHost has nothing but the guest: the registration comes from the
// runner in the shared store.
func (d *deployment) switchWithoutHost(ctx context.Context) error {
	if systemOut(&d.record) == "" {
		return errNoSystem
	}
	g, err := d.openGuest(ctx, d.record.Runner.Out)
	if err != nil {
		return err
	}
	d.guest = g
	d.plan = hostapi.Plan{
		Activation: hostapi.ActivateLive, Runner: d.record.Runner.Out, System: systemOut(&d.record),
		HostName: d.record.HostName, Changed: g.facts.Current != systemOut(&d.record),
	}
	d.result.fromPlan(d.plan)
	if !d.plan.Changed {
		d.result.Outcome = OutcomeUnchanged
		return nil
	}
	if d.req.DryRun {
		d.result.Outcome = OutcomeDryRun
		return nil
	}
	d.Report.Warn("the host is not known, so it can't keep the running system from its garbage collection; name it with --host")
	sw := d.guestSwitch()
	sw.Runner = d.plan.Runner
	if err := d.runInGuestAlone(ctx, sw); err != nil {
		return err
	}
	d.result.Outcome = OutcomeSwitched
	switch d.req.Action {
	case hostapi.ActionTest:
		d.result.Outcome = OutcomeTested
	case hostapi.ActionDryActivate:
		d.result.Outcome = OutcomeDryActivated
	}
	return nil
}

func (d *deployment) runInGuestAlone(ctx context.Context, sw guest.Switch) error {
	err := d.runInGuest(ctx, sw)
	d.guest.open = false // no host session to keep waiting for an outcome
	return err
}
