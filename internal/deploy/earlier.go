package deploy

import (
	"context"
	"fmt"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Rollback makes an earlier generation the VM's current one, and brings what
// runs to it as a rebuild does: live where possible, else by a restart. Unlike
// a rebuild it restarts also where the guest can't be reached: that may be just
// why one goes back. Nothing is evaluated or built.
func (d *Deployer) Rollback(ctx context.Context, req request.Rollback) (*result.Result, error) {
	return d.carryOut(ctx, req.Request(), earlier{to: req.To}, nil)
}

// earlier is a runner that the VM had before.
type earlier struct {
	to      int // the generation; 0: the one before the current
	current bool
}

func (w earlier) resolve(_ context.Context, _ *run, p progress) (progress, error) {
	p.result.Rollback = true
	return p, nil
}

// find asks the host what there is to go back to.
func (w earlier) find(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := r.look(ctx, p)
	if err != nil {
		return p, err
	}
	t, err := w.ask(ctx, r, p)
	if err != nil {
		return p, err
	}
	p.record = microvm.Record{Name: p.to.Name, HostName: t.HostName}
	if t.Record != nil {
		p.record = *t.Record
	}
	if p.to, err = p.to.WithRecorded(t.Target, t.TargetSudo); err != nil {
		return p, err
	}
	g := t.Generation
	p.wanted = earlier{to: g.Number, current: g.Current}
	p.runner, p.generation, p.result.System, p.intent = g.Runner, g.Number, g.System, p.to.Intent()
	p.repeat = fmt.Sprintf("ferry rollback %s --to %d", p.to.Name, g.Number)
	r.say.Step("going back to generation %d: %s", g.Number, live.OrUnknown(g.System))
	return p, nil
}

func (w earlier) ask(ctx context.Context, r *run, p progress) (t hostapi.RollbackTarget, err error) {
	err = r.host.Call(ctx, hostapi.Request{Rollback: &hostapi.RollbackRequest{Name: p.to.Name, To: w.to}}, &t)
	return t, err
}

// look asks the host for the VM as it is, where no record is there to plan with.
func (r *run) look(ctx context.Context, p progress) (progress, error) {
	facts, err := r.host.Probe(ctx, hostapi.ProbeRequest{Name: p.to.Name})
	if err == nil {
		p.facts, p.result.Previous = facts, facts.VM.Current
	}
	return p, err
}

func (w earlier) foresee(ctx context.Context, r *run, p progress) (progress, error) {
	if p.mustWait() {
		return p, nil
	}
	p, err := w.plan(ctx, r, p)
	if err != nil {
		return p, err
	}
	if p.plan.Nothing() || p.to.DryRun {
		p = p.nothingLeft()
		p.result.Generation = p.generation
		return p, nil
	}
	return r.lookInsideBy(ctx, p)
}

func (w earlier) claim(p progress) hostapi.PrepareRequest {
	return hostapi.PrepareRequest{Runner: p.runner, Deployment: hostapi.Deployment{RollbackTo: p.generation}}
}

func (w earlier) reprobe(ctx context.Context, r *run, p progress) (progress, error) {
	p.reason, p.intent.Restart = "", p.to.Restart
	p, err := r.look(ctx, p)
	if err != nil {
		return p, err
	}
	t, err := w.ask(ctx, r, p)
	w.current = t.Generation.Current
	p.wanted = w
	return p, err
}

func (w earlier) obtain(_ context.Context, _ *run, p progress) (progress, error) { return p, nil }

func (w earlier) decide(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := w.plan(ctx, r, p)
	if err != nil {
		return p, err
	}
	p.result.FromPlan(p.plan)
	return r.lookInsideBy(ctx, p)
}

func (w earlier) plan(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := r.plan(ctx, p, goingBackPolicy(p.to.Restart))
	// The generation counts, also where another one holds the same.
	p.plan.Install = p.plan.Install || !w.current
	return p, err
}
