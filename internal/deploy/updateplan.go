package deploy

import (
	"context"
	"errors"
	"slices"

	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

// planUpdate has the host decide, asks the guest where it is to be switched
// live, and leaves to the restart policy what becomes of one that can't be.
func (d *deployment) planUpdate(ctx context.Context) error {
	if err := d.askPlan(ctx); err != nil {
		return err
	}
	if d.plan.Activation == hostapi.ActivateLive && d.guest == nil {
		g, why, err := d.reachForUpdate(ctx)
		if err != nil {
			return err
		}
		d.guest = g
		switch {
		case why == "":
		case d.req.Restart == hostapi.RestartNever:
			d.intent.Action = hostapi.ActionBoot // what runs is not touched
			d.step("installed only, since it can't be switched while it runs: %s", why)
		default:
			d.back.reason, d.intent.Restart = why, hostapi.RestartAlways
		}
		if err := d.askPlan(ctx); err != nil {
			return err
		}
	}
	if d.back.reason != "" && d.plan.Activation == hostapi.ActivateRestart {
		d.plan.Reason = d.back.reason
	}
	if d.intent.Action == hostapi.ActionBoot {
		d.plan.Waits = append(slices.Clone(d.plan.Hardware), "the system inside")
	}
	// After a restart a login is waited for only where one was possible before, or
	// the user names the address.
	switch {
	case d.guest == nil && d.up.recorded:
		d.req.Target = nil
	case d.record.SSH == nil && d.req.Target != nil:
		ssh := true
		d.record.SSH = &ssh
	}
	return nil
}

// reachForUpdate is reachGuest where nobody may be there to help: a recorded
// target that doesn't let this machine in, and a guest that can't be switched at
// all, are left to the restart policy too.
func (d *deployment) reachForUpdate(ctx context.Context) (g *guestSide, why string, err error) {
	if d.req.Target == nil {
		return nil, "the address of its system is not known", nil
	}
	g, err = d.openGuest(ctx, d.facts.VM.Current)
	var ce *remote.ConnectError
	var refused *RefusedError
	switch {
	case err == nil:
		return g, "", nil
	case errors.As(err, &ce) && (d.up.recorded || ce.Kind == remote.Unreachable || ce.Kind == remote.Dropped):
		return nil, "its system can't be logged in to: " + ce.Error(), nil
	case errors.As(err, &refused) && refused.OnlyLive:
		return nil, refused.Error(), nil
	}
	return nil, "", err
}
