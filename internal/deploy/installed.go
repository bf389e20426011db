package deploy

import (
	"context"
	"errors"
	"fmt"

	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
)

// Switch brings the running guest to a system that its host has built already.
func (d *Deployer) Switch(ctx context.Context, req request.Deploy) (*result.Result, error) {
	return d.carryOut(ctx, req, installed{evaluated{req}}, nil)
}

// installed is the runner that the flake yields where it was installed before: the
// guest is switched to it, as microvm.deploy.sshSwitch does. Where the host is
// known it keeps the running system from garbage collection; without it only the
// guest is asked.
type installed struct{ evaluated }

func (w installed) resolve(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := w.evaluated.resolve(ctx, r, p)
	if err != nil {
		return p, err
	}
	if why := p.record.LiveObstacle(); why != "" {
		return p, hostapi.Refuse(
			fmt.Sprintf("%s can't be switched while it runs: %s", p.to.Attribute, why),
			fmt.Sprintf("ferry rebuild %s restarts it instead", p.to.Attribute))
	}
	if p.to.Target == nil {
		return p, &request.UsageError{
			Message: fmt.Sprintf("the target of %s is not known", p.to.Attribute),
			Next:    fmt.Sprintf("name it (ferry switch %s root@target) or set ferry.vms.%s.target in the flake", p.to.Attribute, p.to.Attribute.Attribute()),
		}
	}
	if p.to.Host == nil {
		return w.withoutHost(ctx, r, p)
	}
	return p, nil
}

func (w installed) find(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := r.probe(ctx, p)
	if err == nil {
		r.warnOfNewer(p)
	}
	return p, err
}

func (w installed) foresee(ctx context.Context, r *run, p progress) (progress, error) {
	if p.mustWait() {
		return p, nil
	}
	if err := p.isSwitchable(); err != nil {
		return p, err
	}
	p, err := r.lookAtGuest(ctx, p)
	if err != nil {
		return p, err
	}
	current := p.guest.Current()
	unchanged := current == systemOut(&p.record) && current == p.facts.VM.Running && !p.facts.VM.Unsure
	if unchanged || p.to.DryRun {
		p = p.nothingLeft()
		if unchanged {
			p.result.Outcome = result.OutcomeUnchanged
		}
	}
	return p, nil
}

// isSwitchable refuses what is not installed or does not run.
func (p progress) isSwitchable() error {
	if !p.facts.Built {
		return hostapi.Refuse(
			fmt.Sprintf("%s is not installed on %s in this configuration (%s)", p.to.Attribute, p.to.Host, p.record.Runner.Out),
			fmt.Sprintf("ferry install %s, or ferry rebuild %s for both steps", p.to.Attribute, p.to.Attribute))
	}
	if !p.facts.VM.Unit.Up() {
		return hostapi.Refuse(
			fmt.Sprintf("%s is not running", p.to.Name),
			"start it on the host: systemctl start "+p.to.Name.Unit())
	}
	return nil
}

// obtain finds it there, as it is now.
func (w installed) obtain(_ context.Context, _ *run, p progress) (progress, error) {
	p.runner = p.record.Runner.Out
	return p, p.isSwitchable()
}

func (w installed) decide(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := w.evaluated.decide(ctx, r, p)
	p.plan.Install, p.plan.WriteFlake = false, false
	return p, err
}

// withoutHost has nothing but the guest: the registration comes from the
// runner in the shared store.
func (w installed) withoutHost(ctx context.Context, r *run, p progress) (progress, error) {
	p.done = true
	if systemOut(&p.record) == "" {
		return p, errNoSystem
	}
	p.result.Target = p.to.Target.String()
	g, err := r.openGuest(ctx, p, p.record.Runner.Out)
	if err != nil {
		return p, err
	}
	p.guest, p.result.Observed = g, result.ObservedGuest
	p.plan = hostapi.Plan{
		Activation: hostapi.ActivateLive, Runner: p.record.Runner.Out, System: systemOut(&p.record),
		HostName: p.record.HostName, Changed: g.Facts.Current != systemOut(&p.record),
	}
	p.result.FromPlan(p.plan)
	if !p.plan.Changed || p.to.DryRun {
		p.result.Outcome = result.OutcomeDryRun
		if !p.plan.Changed {
			p.result.Outcome = result.OutcomeUnchanged
		}
		return p, nil
	}
	r.say.Warn("the host is not known, so it can't keep the running system from its garbage collection; name it with --host")
	sw := p.guestSwitch(r.id)
	sw.Runner = p.plan.Runner
	if p, err = r.switchGuest(ctx, p, sw); err != nil {
		return p, err
	}
	p.result.Outcome = liveOutcome(p.to.Action)
	return p, nil
}

var errNoSystem = errors.New("the configuration has no config.system.build.toplevel to switch to")
