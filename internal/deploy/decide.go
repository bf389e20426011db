package deploy

import (
	"context"
	"errors"
	"fmt"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/request"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

// unreachable says what becomes of a live switch whose guest can't be reached.
type unreachable string

// Refuse it, restart the unit instead, or install it only.
const (
	refuseIt  unreachable = "refuse"
	restartIt unreachable = "restart"
	installIt unreachable = "install"
)

// guestPolicy says what a guest out of reach means for a deployment.
type guestPolicy struct {
	then unreachable
	// excuse says in words why a failure to reach the guest stands against a live
	// switch only; empty: it is the deployment's failure. Nil: each is.
	excuse func(request.Resolved, error) string
	// hurried: a guest that may still boot is not waited for.
	hurried bool
}

// strict is for a deployment whose guest somebody should look after.
func strict() guestPolicy { return guestPolicy{then: refuseIt} }

// goingBackPolicy restarts: that the guest can't be reached may be just why one
// goes back.
func goingBackPolicy(r hostapi.RestartPolicy) guestPolicy {
	p := guestPolicy{then: restartIt, excuse: doesNotAnswer, hurried: true}
	if r == hostapi.RestartNever {
		p.then = refuseIt
	}
	return p
}

// updatePolicy leaves it to --restart: nobody may be there to help.
func updatePolicy(r hostapi.RestartPolicy) guestPolicy {
	p := guestPolicy{then: restartIt, excuse: noLogin}
	if r == hostapi.RestartNever {
		p.then = installIt
	}
	return p
}

func doesNotAnswer(_ request.Resolved, err error) string {
	var ce *remote.ConnectError
	if errors.As(err, &ce) && (ce.Kind == remote.Unreachable || ce.Kind == remote.Dropped) {
		return "its system does not answer: " + ce.Error()
	}
	return ""
}

// noLogin excuses a recorded target that doesn't let this machine in, and a guest
// that can't be switched at all, too.
func noLogin(to request.Resolved, err error) string {
	var ce *remote.ConnectError
	var unfit *live.UnfitError
	switch {
	case errors.As(err, &ce) && (to.Recorded || ce.Kind == remote.Unreachable || ce.Kind == remote.Dropped):
		return "its system can't be logged in to: " + ce.Error()
	case errors.As(err, &unfit) && unfit.OnlyLive:
		return unfit.Error()
	}
	return ""
}

// plan has the host decide, asks the guest where it is to be switched live, and
// goes by the policy where it can't be reached. A guest that runs something else
// than the host believes changes the plan. A wrong target of one that is restarted
// or started is found here.
func (r *run) plan(ctx context.Context, p progress, policy guestPolicy) (progress, error) {
	p, err := r.askPlan(ctx, p)
	if err == nil {
		p, err = r.observe(ctx, p, r.askPlan)
	}
	if err != nil {
		return p, err
	}
	if p.plan.Activation == hostapi.ActivateLive && p.guest == nil {
		if p, err = r.reachGuest(ctx, p, policy); err != nil {
			return p, err
		}
		if policy.excuse != nil || p.guest.Current() != p.facts.VM.Running {
			if p, err = r.askPlan(ctx, p); err != nil {
				return p, err
			}
		}
	}
	if p.reason != "" && p.plan.Activation == hostapi.ActivateRestart {
		p.plan.Reason = p.reason
	}
	return r.checkTarget(ctx, p)
}

func (r *run) askPlan(ctx context.Context, p progress) (progress, error) {
	req := hostapi.PlanRequest{
		Name: p.to.Name, Runner: p.runner, Record: p.knownRecord(), GuestSystem: p.guestSystem(), Intent: p.intent,
	}
	p.plan = hostapi.Plan{}
	err := r.host.Call(ctx, hostapi.Request{Plan: &req}, &p.plan)
	return p, err
}

// reachGuest logs in to the guest for a live switch. Where it can't be reached,
// the policy changes what is intended.
func (r *run) reachGuest(ctx context.Context, p progress, policy guestPolicy) (progress, error) {
	if policy.excuse == nil {
		return r.lookAtGuest(ctx, p)
	}
	p, err := r.takeHint(ctx, p, policy.then != installIt)
	if err != nil {
		return p, err
	}
	why := "the address of its system is not known"
	if p.to.Target != nil {
		p.result.Target = p.to.Target.String()
		open := r.openGuest
		if policy.hurried {
			open = r.openAtOnce
		}
		g, err := open(ctx, p, p.facts.VM.Current)
		if err == nil {
			p.guest = g
			return p, nil
		}
		if why = policy.excuse(p.to, err); why == "" {
			return p, err
		}
	}
	switch policy.then {
	case restartIt:
		p.reason, p.intent.Restart = why, hostapi.RestartAlways
	case installIt:
		p.intent.Action = hostapi.ActionBoot // what runs is not touched
		r.say.Step("installed only, since it can't be switched while it runs: %s", why)
	default:
		return p, hostapi.Refuse(
			fmt.Sprintf("%s can't be switched while it runs: %s", p.to.Name, why),
			"name its address with --target, or leave out --restart=never")
	}
	return p, nil
}

// lookAtGuest is needed before a live switch, where nothing else is done instead.
func (r *run) lookAtGuest(ctx context.Context, p progress) (progress, error) {
	if p.plan.NeedTarget {
		return p, &request.UsageError{
			Message: fmt.Sprintf("%s can be switched while it runs, but the address of its system is not known", p.to.Name),
			Next: fmt.Sprintf("name it (ferry rebuild %s HOST root@TARGET), set ferry.vms.%s.target in the flake, or use --restart=always",
				p.to.Attribute, p.to.Attribute.Attribute()),
		}
	}
	if p.to.Target == nil {
		return p, fmt.Errorf("the host wants to switch %s while it runs, though the address of its system is not known", p.to.Name)
	}
	p.result.Target = p.to.Target.String()
	g, err := r.openGuest(ctx, p, p.facts.VM.Current)
	if err != nil {
		return p, err
	}
	p.guest = g
	if now := g.Facts.Current; now != p.facts.VM.Running && now != p.asked {
		r.sayRunning(now)
	}
	return p, nil
}
