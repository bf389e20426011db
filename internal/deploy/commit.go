package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/restart"
	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
)

// afterConfirm bounds what follows the confirmation of a live switch.
const afterConfirm = 20 * time.Minute

// commit has the host install, and start the unit where the plan says so. After a
// live switch the guest stays as it is now: what is left must follow, also after
// Ctrl-C.
func commit(ctx context.Context, r *run, p progress) (progress, error) {
	switch p.plan.Activation {
	case hostapi.ActivateLive:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterConfirm)
		defer cancel()
		return commitLive(ctx, r, p)
	case hostapi.ActivateRestart, hostapi.ActivateStart:
		return commitRestart(ctx, r, p)
	}
	p.result.Outcome = result.OutcomeUnchanged
	if p.plan.Nothing() {
		p.result.Notes = p.startNotes()
		return p, nil
	}
	p, err := r.committed(ctx, p, hostapi.CommitRequest{Install: p.plan.Install, Activation: hostapi.ActivateNone, GuestSystem: p.guest.Current()})
	if err != nil {
		return p, err
	}
	p.standing.text = "installed; what runs was not touched"
	if p.plan.Install {
		p.result.Outcome = result.OutcomeInstalled
	}
	return p, nil
}

// commitLive tells the host that the guest is confirmed.
func commitLive(ctx context.Context, r *run, p progress) (progress, error) {
	p.result.Outcome = liveOutcome(p.to.Action)
	switch p.to.Action {
	case hostapi.ActionDryActivate:
		return p, nil
	case hostapi.ActionTest:
		p.standing.text = "the guest runs the new system; `current` and the profile are as they were"
		return p, r.host.Observe(ctx, p.guest.Current(), false)
	}
	p.standing.text = "the guest runs the new system, but `current` on the host is the old runner: running the same command again finishes this"
	p, err := r.committed(ctx, p, p.liveCommit())
	if err == nil {
		p.result.Notes = p.startNotes()
		p.standing.text = "switched and installed"
	}
	return p, err
}

// commitRestart commits before the unit is started: it boots what `current` names.
func commitRestart(ctx context.Context, r *run, p progress) (progress, error) {
	p.standing.text = fmt.Sprintf("the host goes on by itself, and undoes what fails; how it ended: %s", r.attachHint(p))
	if v := p.facts.VM; p.guest == nil && (!v.Exists || v.ToStart) {
		p.before = restart.New()
	} else if p.guest != nil {
		p.before = restart.Units{Failed: p.guest.Facts.FailedUnits, Known: true}
	} else if p.asksGuest() && p.facts.VM.Unit.Up() {
		p.before = restart.UnitsOf(ctx, r.door(p.to))
	}
	c := hostapi.CommitRequest{
		Install: p.plan.Install, Activation: p.plan.Activation,
		Confirm: p.to.Confirm.ForHost(p.to.Confirm.BootTime(), p.asksGuest()),
	}
	p = r.remember(p, p.complete(c))
	p, err := r.committed(ctx, p, c)
	if err != nil && p.to.Confirm.NoRollback && !hostclient.IsLost(err) && ctx.Err() == nil {
		p.standing.text = fmt.Sprintf("`current` is the new runner, and --no-rollback leaves it so; the previous one is %s", cmp.Or(string(p.plan.Previous), "none: the VM is new"))
	}
	return p, err
}

// liveCommit is what the host has to do once the guest is confirmed.
func (p progress) liveCommit() hostapi.CommitRequest {
	return p.complete(hostapi.CommitRequest{
		Install: p.plan.Install, Activation: hostapi.ActivateLive, GuestSystem: p.plan.System,
		Confirm: p.to.Confirm.ForHost(cmp.Or(p.to.Confirm.Timeout, live.Within), p.asksGuest()),
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

// committed asks for a commit.
func (r *run) committed(ctx context.Context, p progress, c hostapi.CommitRequest) (progress, error) {
	done, ended, err := r.host.Commit(ctx, p.complete(c))
	p.standing.ended = ended
	if err == nil {
		p.result.Generation, p.result.Killed, p.deadline = done.Generation, done.Unit.Killed, done.Deadline
	}
	if p.result.Killed != "" {
		r.say.Warn("%s", p.result.Killed)
	}
	return p, err
}

// lookInside finds the new system, well, in a guest whose unit was started, and
// has the host bring back what ran before where it doesn't.
func lookInside(ctx context.Context, r *run, p progress) (progress, error) {
	if !p.plan.Activation.Starts() {
		return p, nil
	}
	if !p.standing.ended && p.asksGuest() {
		p.result.Target = p.to.Target.String()
		r.say.Step("waiting for %s to boot", p.to.Target)
		c := p.to.Confirm
		boot, err := restart.Booting{
			Door: r.door(p.to), System: p.plan.System, Before: p.before, Within: c.BootTime(),
			AcceptFailedUnits: c.AcceptFailedUnits, Command: c.Command,
		}.Await(ctx)
		if err != nil {
			return undoRestart(ctx, r, p, err)
		}
		p.result.BootID = boot
	}
	p.standing.text = "installed, and its unit is up"
	p.result.Outcome = result.OutcomeRestarted
	if p.plan.Activation == hostapi.ActivateStart {
		p.result.Outcome = result.OutcomeStarted
	}
	return p, nil
}

// asksGuest: after a restart the operator logs in and finds the new system.
func (p progress) asksGuest() bool {
	return p.to.Target != nil && p.plan.System != "" && p.record.SSH != nil && *p.record.SSH
}

// undoRestart has the host bring back what ran before.
func undoRestart(ctx context.Context, r *run, p progress, cause error) (progress, error) {
	if p.to.Confirm.NoRollback {
		p.standing.text = "installed, and its unit is up; --no-rollback leaves it so"
		return p, cause
	}
	p.standing.text = fmt.Sprintf("the host undoes it by itself at %s; how it ended: %s", p.deadline.Local().Format(time.TimeOnly), r.attachHint(p))
	state, err := r.host.Undo(ctx, p.attached.forHost(cause), cause)
	var failure *hostapi.Failure
	p.standing.ended = true
	switch {
	case errors.As(err, &failure) && failure.State != "":
		p.standing.text, p.standing.undone = failure.State, failure.RolledBack
	case err != nil:
		r.say.Warn("%v", err)
	default:
		p.standing.text, p.standing.undone = state, true
	}
	return p, cause
}

// finish is the last word of a deployment that went well. Where the host waits
// for it, it is the confirmation.
func finish(ctx context.Context, r *run, p progress) (progress, error) {
	p.done = true
	if p.standing.ended {
		return p, nil
	}
	if p.plan.Activation != hostapi.ActivateNone {
		// It was found well: what is left is to say so, also after Ctrl-C. Otherwise
		// the host would undo what the user reads is done.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), afterConfirm)
		defer cancel()
	}
	err := r.host.Finish(ctx, string(p.result.Outcome))
	if err != nil && p.plan.Activation.Starts() {
		// What was found well is what the host would keep, had it heard of it. Where it
		// has dealt with it, it says itself how things are.
		p.standing.text = fmt.Sprintf("the VM was found well, but the host has not taken that down, and may undo it by itself; how it ended: %s", r.attachHint(p))
	}
	return p, err
}

// attachHint is how to learn what has become of this deployment.
func (r *run) attachHint(p progress) string {
	return fmt.Sprintf("ferry attach %s --host %s", r.id, p.to.Host)
}
