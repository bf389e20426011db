package deploy

import (
	"context"
	"fmt"
	"strings"

	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/deploy/transfer"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/trouble"
	"ferry/internal/ui"
)

// Rebuild evaluates, builds on the host, installs, and activates as the request
// says. The result tells what was done also when the error is not nil.
func (d *Deployer) Rebuild(ctx context.Context, req request.Deploy) (*result.Result, error) {
	if req.Building.EvalOnHost && !req.DryRun {
		return d.carryOut(ctx, req, evaluatedThere{evaluated: evaluated{req}}, nil)
	}
	return d.carryOut(ctx, req, evaluated{req}, nil)
}

// evaluated is the runner that the flake yields, evaluated here.
type evaluated struct{ req request.Deploy }

// resolve evaluates the record and the `ferry` output.
func (w evaluated) resolve(ctx context.Context, r *run, p progress) (progress, error) {
	ev, err := r.Evaluator.Evaluate(ctx, w.req.Source, w.req.Attribute)
	if err != nil {
		return p, err
	}
	r.say.warnAll(ev.Warnings)
	p = p.with(ev)
	switch {
	case ev.Given != nil:
		r.sayGiven(p)
	case ev.Cached:
		r.say.Detail("evaluation: from the cache")
	default:
		r.say.Step("evaluated %s", p.record.Runner.Drv)
	}
	return p.resolved(w.req, ev.Fleet), nil
}

// with takes what an evaluation tells.
func (p progress) with(ev *flake.Evaluation) progress {
	p.record, p.flake, p.revision, p.given = ev.Record, ev.URL, ev.Revision, ev.Given
	p.record.Name = p.to.Name
	p.result.System = systemOut(&p.record)
	return p
}

func (p progress) resolved(req request.Deploy, f flake.Fleet) progress {
	p.to = request.Resolve(req, f)
	p.intent = p.to.Intent()
	if !p.to.Place.OnHost() {
		p.result.BuildOn = p.to.Place.String()
	}
	return p
}

// find asks the host what it is, and for a first plan.
func (w evaluated) find(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := r.probe(ctx, p)
	if err != nil {
		return p, err
	}
	r.warnOfNewer(p)
	return p, p.checkShares()
}

// probe asks the host for facts and a first plan, which takes into account what
// the guest says, once it was asked.
func (r *run) probe(ctx context.Context, p progress) (progress, error) {
	facts, err := r.host.Probe(ctx, hostapi.ProbeRequest{
		Name: p.to.Name, Record: &p.record, GuestSystem: p.guestSystem(), Intent: p.intent,
		Origin: p.given != nil,
	})
	if err != nil {
		return p, err
	}
	if p.facts = facts; facts.Plan != nil {
		p.plan = *facts.Plan
	}
	p.result.Previous = facts.VM.Current
	return p, nil
}

// checkShares refuses a VM that could not start.
func (p progress) checkShares() error {
	if len(p.facts.MissingShares) == 0 || p.to.Action == hostapi.ActionBoot {
		return nil
	}
	return hostapi.Refuse(
		fmt.Sprintf("share sources are missing on %s: %s", p.to.Host, strings.Join(p.facts.MissingShares, ", ")),
		"make these directories on the host, or correct microvm.shares").About(trouble.MissingShare)
}

// foresee asks the guest as well, before anything is touched, and whether what is
// built elsewhere could be used.
func (w evaluated) foresee(ctx context.Context, r *run, p progress) (progress, error) {
	if p.mustWait() {
		return r.checkPlace(ctx, p)
	}
	nothing := !p.plan.Predicted && p.plan.Nothing()
	if l := p.facts.Lock; l != nil && !p.to.DryRun && !nothing {
		return p, l.Refusal(p.to.Name)
	}
	p, err := r.observe(ctx, p, r.probe)
	if err != nil {
		return p, err
	}
	if p.plan.Activation == hostapi.ActivateLive {
		if p, err = r.lookAtGuest(ctx, p); err != nil {
			return p, err
		}
		if p.to.DryRun && p.guest.Current() != p.facts.VM.Running {
			if p, err = r.probe(ctx, p); err != nil { // the plan that a real run makes after the build
				return p, err
			}
		}
	}
	switch {
	case !p.plan.Predicted && p.plan.Nothing():
		p = p.nothingLeft()
		p.result.Outcome = result.OutcomeUnchanged
		return p, nil
	case p.to.DryRun:
		if p, err = r.checkTarget(ctx, p); err != nil {
			return p, err
		}
		p = p.nothingLeft()
		p.result.Predicted = p.plan.Predicted
		return p, nil
	}
	return r.checkPlace(ctx, p)
}

// checkPlace finds out whether what is built elsewhere could be used at all,
// before anything is built or copied.
func (r *run) checkPlace(ctx context.Context, p progress) (progress, error) {
	if p.facts.Built {
		return p, nil
	}
	if b := p.to.Place.Builder; b != nil && !p.to.Host.Local && b.Host == p.to.Host.Host {
		return p, &request.UsageError{Message: fmt.Sprintf("the builder %s is the host itself", p.to.Place), Next: "build there with --build-on host"}
	}
	var err error
	p.place, err = r.way().CheckPlace(ctx, p.to.Place, p.to.Source.Options, func(ctx context.Context, a microvm.Address) (remote.Conn, error) {
		return r.dial(ctx, remote.Options{Address: a})
	})
	return p, err
}

// claim roots the derivations. What is built elsewhere is rooted by the runner's
// own path.
func (w evaluated) claim(p progress) hostapi.PrepareRequest {
	req := hostapi.PrepareRequest{
		Runner:     p.record.Runner.Out,
		Deployment: hostapi.Deployment{Flake: ui.Redact(p.flake), Revision: p.revision},
	}
	if p.to.Place.OnHost() {
		req.Derivations = []microvm.StorePath{p.record.Runner.Drv}
	}
	return req
}

func (w evaluated) reprobe(ctx context.Context, r *run, p progress) (progress, error) {
	return r.probe(ctx, p)
}

// obtain builds the runner, unless the host has it.
func (w evaluated) obtain(ctx context.Context, r *run, p progress) (progress, error) {
	if p.facts.Built {
		p.runner = p.record.Runner.Out
		return p, nil
	}
	var err error
	p.runner, err = r.build(ctx, p)
	return p, err
}

// build ships and builds.
func (r *run) build(ctx context.Context, p progress) (microvm.StorePath, error) {
	way := r.way()
	if !p.to.Place.OnHost() {
		recipe := transfer.Recipe{VM: p.to.Name, Runner: p.record.Runner, Options: p.to.Source.Options, SendsAll: p.to.NoSubstitute}
		return way.BuildElsewhere(ctx, recipe, p.place)
	}
	drv := p.record.Runner.Drv
	return way.BuildOnHost(ctx, p.to.Name, func(ctx context.Context, _ int) (microvm.StorePath, error) {
		return drv, way.Derivations(ctx, drv)
	}, way.ClosureGone)
}

func (w evaluated) decide(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := r.plan(ctx, p, strict())
	if err == nil {
		p.result.FromPlan(p.plan)
	}
	return p, err
}
