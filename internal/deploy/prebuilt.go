package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/deploy/transfer"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/ui"
	"ferry/internal/update"
)

// Update brings a VM to the newest runner of a source, as a rebuild does: live
// where possible, else by a restart, with the same undo behind it. Where the
// guest can't be reached, --restart decides. Nothing is evaluated here unless
// the VM's `flake` file is the source.
func (d *Deployer) Update(ctx context.Context, req request.Update) (*result.Result, error) {
	return d.carryOut(ctx, req.Request(), prebuilt{req: req}, req.Conn)
}

// prebuilt is a runner that others have chosen: one that is in a cache, or what
// the flake yields that the VM's `flake` file names.
type prebuilt struct {
	req   request.Update
	found update.Found
}

func (w prebuilt) resolve(_ context.Context, _ *run, p progress) (progress, error) {
	p.result.Update = true
	return p, nil
}

// find asks the host for the VM, and for the target that it has recorded, and
// then the source which runner it should have.
func (w prebuilt) find(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := r.look(ctx, p)
	if err != nil {
		return p, err
	}
	if !p.facts.VM.Exists {
		p.result.Previous = ""
		return p, hostapi.Refuse(
			fmt.Sprintf("there is no VM %s on %s", p.to.Name, p.to.Host),
			fmt.Sprintf("ferry rebuild %s makes it, ferry list shows those there are", p.to.Name))
	}
	if p.to, err = p.to.WithRecorded(p.facts.Target, p.facts.TargetSudo); err != nil {
		return p, err
	}
	// A timer may well lack the key for the guest, whoever named its address.
	p.to.Recorded = p.to.Recorded || w.req.Unattended
	p.intent = p.to.Intent()
	if p, err = w.choose(ctx, r, p); err != nil || p.done {
		return p, err
	}
	if w.req.Unattended && p.facts.Undone == p.runner && p.runner != "" {
		return p, hostapi.Refuse(
			fmt.Sprintf("this very runner was deployed before and undone (%s)", p.facts.UndoneID),
			fmt.Sprintf("ferry history %s tells why; the next build is tried again, and this one by ferry update %s", p.to.Name, p.to.Name))
	}
	return p, nil
}

// choose asks the source which runner the VM should have.
func (w prebuilt) choose(ctx context.Context, r *run, p progress) (progress, error) {
	p.record = microvm.Record{Name: p.to.Name}
	if w.req.Source == nil {
		return w.chooseByFlake(ctx, r, p)
	}
	found, skip, err := update.Choose(ctx, w.req.Source, update.VM{Name: p.to.Name, Recorded: p.facts.VM.Flake, Named: !w.req.AllVMs})
	switch {
	case err != nil:
		return p, err
	case skip != nil:
		return p.skipped(skip.Error()), nil
	}
	w.found = found
	p.wanted, p.runner, p.record.Runner.Out, p.result.Build = w, found.Runner, found.Runner, ui.Redact(found.Build)
	return p, w.inOrder(r, p)
}

// inOrder refuses a build that is older than the installed one of the same job: a
// server that lost its newest builds, or answers with an old page, would bring back
// what has been mended since. Where the order is not known, that is said.
func (w prebuilt) inOrder(r *run, p progress) error {
	there, job := p.facts.Installed, ui.Redact(w.found.Job)
	switch {
	case w.found.ID == 0 || w.req.AllowOlder || p.facts.VM.Current == w.found.Runner:
	case there == nil || there.Job != job:
		r.say.Step("whether build %d is newer than what is installed is not known: that is not from a build of %s", w.found.ID, job)
	case w.found.ID < there.ID:
		return hostapi.Refuse(
			fmt.Sprintf("build %d is older than build %d of the same job, which is installed", w.found.ID, there.ID),
			"if the older one is meant, use --allow-older (in a timer's settings `allowOlder`)")
	}
	return nil
}

// skipped ends a deployment of a VM that is not to be updated.
func (p progress) skipped(why string) progress {
	p.result.Reason, p.result.Outcome, p.done = why, result.OutcomeSkipped, true
	return p
}

// chooseByFlake evaluates what the VM's `flake` file names.
func (w prebuilt) chooseByFlake(ctx context.Context, r *run, p progress) (progress, error) {
	ref := p.facts.VM.Flake
	if ref == "" {
		return p.skipped("it has no `flake` file to be updated from"), nil
	}
	if flake.FixedInStore(ref) {
		r.say.Warn("%s: its `flake` file names a path of the store, which never changes: %s", p.to.Name, ref)
	}
	// The reference may have moved within the hour that Nix caches it.
	ev, err := r.Evaluator.Evaluate(ctx, flake.Source{Ref: ref, Options: []string{"--refresh"}}, p.to.Attribute)
	if err != nil {
		return p, err
	}
	r.say.warnAll(ev.Warnings)
	p = p.with(ev)
	p.runner = p.record.Runner.Out
	return p, nil
}

func (w prebuilt) foresee(ctx context.Context, r *run, p progress) (progress, error) {
	var err error
	there := p.facts.VM
	has := slices.Contains([]microvm.StorePath{there.Current, there.Old, there.Booted}, p.runner)
	if !p.to.DryRun && (!has || p.mustWait()) && there.Unit.Up() && p.to.Restart != hostapi.RestartAlways {
		// Rather than after the download.
		if p, err = r.takeHint(ctx, p, p.to.Restart != hostapi.RestartNever); err != nil {
			return p, err
		}
	}
	if has && !p.mustWait() {
		if p, err = w.plan(ctx, r, p); err != nil {
			return p, err
		}
		if p.plan.Nothing() || p.to.DryRun {
			return p.nothingLeft(), nil
		}
	}
	if p.to.DryRun {
		p.result.Runner, p.result.Install, p.result.Predicted, p.result.Outcome = p.runner, true, true, result.OutcomeDryRun
		p.done = true
	}
	return p, nil
}

func (w prebuilt) claim(p progress) hostapi.PrepareRequest {
	if w.req.Source == nil {
		return evaluated{}.claim(p)
	}
	return hostapi.PrepareRequest{
		Runner:     p.runner,
		Deployment: hostapi.Deployment{Flake: ui.Redact(w.found.Flake), Build: ui.Redact(w.found.Build), Job: ui.Redact(w.found.Job), BuildID: w.found.ID},
	}
}

func (w prebuilt) reprobe(ctx context.Context, r *run, p progress) (progress, error) {
	p.reason, p.intent.Restart = "", p.to.Restart
	p, err := r.look(ctx, p)
	if err != nil {
		return p, err
	}
	p.intent.Action = p.to.Action
	if w.req.Source == nil {
		return p, nil
	}
	return p, w.inOrder(r, p) // another build may have been installed meanwhile
}

// obtain builds the runner on the host from the evaluated derivation, or has it
// downloaded.
func (w prebuilt) obtain(ctx context.Context, r *run, p progress) (progress, error) {
	if w.req.Source == nil {
		return w.build(ctx, r, p)
	}
	f := w.req.Fetch
	return p, r.way().Obtain(ctx, transfer.Fetch{
		VM: p.to.Name, Runner: p.runner, Cache: f.Cache, Stall: f.Stall, Limit: f.Limit,
		OnlyRelay: f.Relay == request.RelayAlways, NeverRelay: f.Relay == request.RelayNever,
	})
}

func (w prebuilt) build(ctx context.Context, r *run, p progress) (progress, error) {
	runner, err := r.build(ctx, p)
	if _, gone := os.Stat(string(p.record.Runner.Drv)); errors.Is(gone, fs.ErrNotExist) && err != nil && ctx.Err() == nil {
		// A garbage collection came before its root: now it has one.
		if p, err = w.chooseByFlake(ctx, r, p); err == nil {
			runner, err = r.build(ctx, p)
		}
	}
	if err == nil {
		p.runner = runner
	}
	return p, err
}

func (w prebuilt) decide(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := w.plan(ctx, r, p)
	if err == nil {
		p.result.FromPlan(p.plan)
	}
	return p, err
}

func (w prebuilt) plan(ctx context.Context, r *run, p progress) (progress, error) {
	p, err := r.plan(ctx, p, updatePolicy(p.to.Restart))
	if err != nil {
		return p, err
	}
	if p.intent.Action == hostapi.ActionBoot {
		p.plan.Waits = append(slices.Clone(p.plan.Hardware), "the system inside")
	}
	// After a restart a login is waited for only where one was possible before, or
	// the user names the address.
	switch {
	case p.guest == nil && p.to.Recorded:
		p.to = p.to.WithoutTarget()
	case p.record.SSH == nil && p.to.Target != nil:
		ssh := true
		p.record.SSH = &ssh
	}
	return p, nil
}
