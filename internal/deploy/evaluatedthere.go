package deploy

import (
	"context"
	"errors"

	"ferry/internal/deploy/request"
	"ferry/internal/deploy/transfer"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/ui"
)

// evaluatedThere is the runner that the flake yields, evaluated on the host, under
// the VM's lock: only then it is known what is to be done.
type evaluatedThere struct {
	evaluated
	archive *flake.Archive
}

// resolve gets the flake with all its inputs. Here only the `ferry` output is
// evaluated, for the addresses.
func (w evaluatedThere) resolve(ctx context.Context, r *run, p progress) (progress, error) {
	if on := w.req.Building.On; on != nil && !on.OnHost() {
		return p, &request.UsageError{
			Message: "what is evaluated on the host is built there, not on " + transfer.PlaceName(*on, microvm.Address{}),
			Next:    "leave out --eval-on host, or --build-on",
		}
	}
	a, err := r.Evaluator.Archive(ctx, w.req.Source, w.req.Attribute)
	var impure flake.ImpureError
	if errors.As(err, &impure) {
		return p, &request.UsageError{Message: impure.Error(), Next: impure.Hint()}
	}
	if err != nil {
		return p, err
	}
	fleet, warnings, err := r.Evaluator.Fleet(ctx, w.req.Source)
	if err != nil {
		return p, err
	}
	r.say.warnAll(warnings)
	w.archive = a
	p.wanted, p.flake, p.revision = w, a.URL, a.Revision
	return p.resolved(w.req, fleet), nil
}

func (w evaluatedThere) find(_ context.Context, _ *run, p progress) (progress, error) { return p, nil }

func (w evaluatedThere) foresee(_ context.Context, _ *run, p progress) (progress, error) {
	return p, nil
}

func (w evaluatedThere) claim(p progress) hostapi.PrepareRequest {
	return hostapi.PrepareRequest{
		Derivations: w.archive.Sources,
		Deployment:  hostapi.Deployment{Flake: ui.Redact(p.flake), Revision: p.revision},
	}
}

// reprobe has nothing to ask: nothing was asked before.
func (w evaluatedThere) reprobe(_ context.Context, _ *run, p progress) (progress, error) {
	return p, nil
}

// obtain evaluates, looks as a deployment does that is evaluated here, and builds.
func (w evaluatedThere) obtain(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := w.evaluate(ctx, r, p)
	if err != nil {
		return p, err
	}
	if p, err = w.evaluated.find(ctx, r, p); err != nil {
		return p, err
	}
	if p, err = r.observe(ctx, p, r.probe); err != nil {
		return p, err
	}
	if !p.plan.Predicted && p.plan.Nothing() {
		p = p.nothingLeft()
		return finish(ctx, r, p)
	}
	if p.plan.Activation == hostapi.ActivateLive {
		if p, err = r.lookAtGuest(ctx, p); err != nil {
			return p, err
		}
	}
	if p, err = r.checkTarget(ctx, p); err != nil {
		return p, err
	}
	if p.facts.Built {
		return w.evaluated.obtain(ctx, r, p)
	}
	way := r.way()
	p.runner, err = way.BuildOnHost(ctx, p.to.Name, func(ctx context.Context, shipment int) (microvm.StorePath, error) {
		if shipment == 1 {
			return p.record.Runner.Drv, nil
		}
		p, err = w.evaluate(ctx, r, p)
		return p.record.Runner.Drv, err
	}, way.PathGone)
	return p, err
}

// evaluate ships the sources and gets the record from the host.
func (w evaluatedThere) evaluate(ctx context.Context, r *run, p progress) (progress, error) {
	ev, err := r.way().Evaluate(ctx, p.to.Name, p.to.Attribute, w.archive)
	if err != nil {
		return p, err
	}
	return p.with(ev), nil
}
