package deploy

import (
	"context"
	"fmt"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// rebuild is the whole of a deployment after evaluation.
func (d *deployment) rebuild(ctx context.Context) error {
	if d.archive != nil {
		return d.rebuildThere(ctx)
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	if !d.plan.Predicted && d.plan.Nothing() && !d.mustWait() {
		d.result.fromPlan(d.plan)
		d.result.Outcome = OutcomeUnchanged
		return nil
	}
	if d.req.DryRun {
		d.result.fromPlan(d.plan)
		d.result.Outcome, d.result.Predicted = OutcomeDryRun, d.plan.Predicted
		return nil
	}
	if err := d.checkPlace(ctx); err != nil {
		return err
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	return d.buildAndGo(ctx)
}

// buildAndGo is what is left once the VM is locked and what is to be built is
// known.
func (d *deployment) buildAndGo(ctx context.Context) error {
	if !d.facts.Built {
		if err := d.build(ctx); err != nil {
			return err
		}
	} else {
		d.plan.Runner = d.record.Runner.Out
	}
	if err := d.decide(ctx); err != nil {
		return err
	}
	return d.carryOut(ctx)
}

// look asks both sides what they are, before anything is touched.
func (d *deployment) look(ctx context.Context) error {
	if err := d.connectHost(ctx); err != nil {
		return err
	}
	if err := d.checkShares(); err != nil {
		return err
	}
	if d.mustWait() {
		return nil
	}
	if l := d.facts.Lock; l != nil && !d.req.DryRun && !(d.plan.Nothing() && !d.plan.Predicted) {
		return l.Refusal(d.req.Name)
	}
	if d.plan.Activation != hostapi.ActivateLive {
		return nil
	}
	if err := d.lookAtGuest(ctx); err != nil {
		return err
	}
	if d.req.DryRun && d.guest.current() != d.facts.VM.Running {
		return d.probe(ctx) // the plan that a real run makes after the build
	}
	return nil
}

// checkShares refuses a VM that could not start.
func (d *deployment) checkShares() error {
	if len(d.facts.MissingShares) == 0 || d.req.Action == hostapi.ActionBoot {
		return nil
	}
	return &RefusedError{
		Message: fmt.Sprintf("share sources are missing on %s: %s", d.req.Host, strings.Join(d.facts.MissingShares, ", ")),
		Next:    "make these directories on the host, or correct microvm.shares",
	}
}

// lookAtGuest is needed before a live switch. A guest that runs something else
// than the host believes changes the plan.
func (d *deployment) lookAtGuest(ctx context.Context) error {
	if d.plan.NeedTarget {
		return &UsageError{
			Message: fmt.Sprintf("%s can be switched while it runs, but the address of its system is not known", d.req.Name),
			Next: fmt.Sprintf("name it (ferry rebuild %s HOST root@TARGET), set ferry.vms.%s.target in the flake, or use --restart=always",
				d.req.Attribute, d.req.Attribute),
		}
	}
	g, err := d.openGuest(ctx, d.facts.VM.Current)
	if err != nil {
		return err
	}
	d.guest = g
	if g.facts.Current != d.facts.VM.Running {
		d.step("the guest runs %s, not what the host last knew of", microvm.SystemBaseName(string(g.facts.Current)))
	}
	return nil
}

// decide has the host compare what is built with what runs.
func (d *deployment) decide(ctx context.Context) error {
	req := hostapi.PlanRequest{
		Name: d.req.Name, Runner: d.plan.Runner, Record: &d.record,
		GuestSystem: d.guest.current(), Intent: d.intent,
	}
	var p hostapi.Plan
	if err := d.session.Call(ctx, hostapi.Request{Plan: &req}, &p); err != nil {
		return err
	}
	d.plan = p
	if p.Activation == hostapi.ActivateLive && d.guest == nil {
		if err := d.lookAtGuest(ctx); err != nil {
			return err
		}
		if d.guest.current() != d.facts.VM.Running {
			return d.decide(ctx)
		}
	}
	d.result.fromPlan(d.plan)
	return nil
}

// carryOut does what the plan says.
func (d *deployment) carryOut(ctx context.Context) error {
	switch d.plan.Activation {
	case hostapi.ActivateLive:
		return d.switchLive(ctx)
	case hostapi.ActivateRestart, hostapi.ActivateStart:
		return d.restart(ctx)
	}
	if d.plan.Nothing() {
		return d.finish(ctx, OutcomeUnchanged)
	}
	done, err := d.commit(ctx, hostapi.CommitRequest{Install: d.plan.Install, Activation: hostapi.ActivateNone, GuestSystem: d.guest.current()})
	if err != nil {
		return err
	}
	d.result.Generation = done.Generation
	d.state = "installed; what runs was not touched"
	if !d.plan.Install {
		return d.finish(ctx, OutcomeUnchanged)
	}
	return d.finish(ctx, OutcomeInstalled)
}
