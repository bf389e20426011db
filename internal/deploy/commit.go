package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/hostapi"
)

// afterConfirm bounds what follows the confirmation of a live switch.
const afterConfirm = 20 * time.Minute

// commit has the host install, and start the unit where the plan says so. After a
// live switch the guest stays as it is now: what is left must follow, also after
// Ctrl-C.
func (r *run) commit(ctx context.Context, p progress) (progress, error) {
	switch p.plan.Activation {
	case hostapi.ActivateLive:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterConfirm)
		defer cancel()
		return r.commitLive(ctx, p)
	case hostapi.ActivateRestart, hostapi.ActivateStart:
		return r.commitRestart(ctx, p)
	}
	p.result.Outcome = OutcomeUnchanged
	if p.plan.Nothing() {
		return p, nil
	}
	p, err := r.committed(ctx, p, hostapi.CommitRequest{Install: p.plan.Install, Activation: hostapi.ActivateNone, GuestSystem: p.guest.current()})
	if err != nil {
		return p, err
	}
	p.standing.text = "installed; what runs was not touched"
	if p.plan.Install {
		p.result.Outcome = OutcomeInstalled
	}
	return p, nil
}

// commitLive tells the host that the guest is confirmed.
func (r *run) commitLive(ctx context.Context, p progress) (progress, error) {
	p.result.Outcome = liveOutcome(p.to.Action)
	switch p.to.Action {
	case hostapi.ActionDryActivate:
		return p, nil
	case hostapi.ActionTest:
		p.standing.text = "the guest runs the new system; `current` and the profile are as they were"
		return p, r.observe(ctx, p.to.Name, p.guest.current(), false)
	}
	p.standing.text = "the guest runs the new system, but `current` on the host is the old runner: running the same command again finishes this"
	p, err := r.committed(ctx, p, p.liveCommit())
	if err == nil {
		p.standing.text = "switched and installed"
	}
	return p, err
}

// commitRestart commits before the unit is started: it boots what `current` names.
func (r *run) commitRestart(ctx context.Context, p progress) (progress, error) {
	p.standing.text = fmt.Sprintf("the host goes on by itself, and undoes what fails; how it ended: %s", r.attachHint(p))
	p.before = r.unitsBefore(ctx, p)
	c := hostapi.CommitRequest{
		Install: p.plan.Install, Activation: p.plan.Activation,
		Confirm: p.to.Confirm.forHost(p.to.Confirm.bootTime(), p.asksGuest()),
	}
	p = r.remember(p, p.complete(c))
	p, err := r.committed(ctx, p, c)
	if err != nil && p.to.Confirm.NoRollback && !isLost(err) && ctx.Err() == nil {
		p.standing.text = fmt.Sprintf("`current` is the new runner, and --no-rollback leaves it so; the previous one is %s", cmp.Or(string(p.plan.Previous), "none: the VM is new"))
	}
	return p, err
}

// liveCommit is what the host has to do once the guest is confirmed.
func (p progress) liveCommit() hostapi.CommitRequest {
	return p.complete(hostapi.CommitRequest{
		Install: p.plan.Install, Activation: hostapi.ActivateLive, GuestSystem: p.plan.System,
		Confirm: p.to.Confirm.forHost(cmp.Or(p.to.Confirm.Timeout, live.Within), p.asksGuest()),
	})
}

// complete fills in what is the same in all commits of a deployment.
func (p progress) complete(c hostapi.CommitRequest) hostapi.CommitRequest {
	c.Name, c.Runner, c.Record, c.Generation, c.UpdateFlake = p.to.Name, p.plan.Runner, p.knownRecord(), p.generation, ""
	if p.plan.WriteFlake {
		c.UpdateFlake = p.to.UpdateFlake
	}
	return c
}

// committed asks for a commit. Where the connection is lost meanwhile, the host
// goes on; what has become of it is asked over a new one.
func (r *run) committed(ctx context.Context, p progress, c hostapi.CommitRequest) (progress, error) {
	c = p.complete(c)
	var done hostapi.Committed
	err := r.host.Call(ctx, hostapi.Request{Commit: &c}, &done)
	if isLost(err) {
		resumed, rerr := r.host.resume(ctx, p.to.Name, r.id, err)
		switch {
		case rerr != nil:
			err = rerr
		case resumed.Phase == hostapi.PhaseAwait:
			done, err = hostapi.Committed{Deadline: resumed.Deadline}, nil
		case resumed.Outcome == "": // a live switch whose commit never arrived
			err = r.host.Call(ctx, hostapi.Request{Commit: &c}, &done)
		default:
			p.standing.ended = true
			err = r.endedAs(resumed, err)
		}
	}
	if err == nil {
		p.result.Generation, p.deadline = done.Generation, done.Deadline
	}
	return p, err
}

// endedAs is nil where the host has brought the deployment to a good end by
// itself, else what it did instead.
func (r *run) endedAs(resumed *hostapi.Resumed, lost error) error {
	switch outcome := Outcome(resumed.Outcome); {
	case outcome == OutcomeRolledBack, resumed.Settled == hostapi.SettledUndone:
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), RolledBack: true, State: resumed.Error}
	case resumed.Settled == hostapi.SettledUnconfirmed, resumed.Settled == hostapi.SettledSuperseded:
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), State: resumed.Error}
	case outcome == outcomeInterrupted && resumed.Settled == "":
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), State: nothingChanged}
	case outcome == OutcomeFailed:
		return fmt.Errorf("deployment %s: %s", r.id, resumed.Error)
	}
	return nil
}

// outcomeInterrupted is the history's word for a deployment that was cut off.
const outcomeInterrupted Outcome = "interrupted"

// finish is the last word of a deployment that went well. Where the host waits
// for it, it is the confirmation.
func (r *run) finish(ctx context.Context, p progress) (progress, error) {
	p.done = true
	if p.standing.ended {
		return p, nil
	}
	if p.plan.Activation == hostapi.ActivateLive {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), afterConfirm)
		defer cancel()
	}
	req := hostapi.Request{Finish: &hostapi.FinishRequest{Name: p.to.Name, Outcome: string(p.result.Outcome)}}
	err := r.host.Call(ctx, req, nil)
	if !isLost(err) {
		return p, err
	}
	resumed, err := r.host.resume(ctx, p.to.Name, r.id, err)
	switch {
	case err != nil:
		return p, err
	case resumed.Outcome == "":
		return p, r.host.Call(ctx, req, nil)
	}
	return p, r.endedAs(resumed, errors.New("the connection was lost"))
}

// attachHint is how to learn what has become of this deployment.
func (r *run) attachHint(p progress) string {
	return fmt.Sprintf("ferry attach %s --host %s", r.id, p.to.Host)
}
