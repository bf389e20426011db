package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/guest"
	"ferry/internal/microvm"
)

// earlierWait bounds how long the switch of an earlier run is waited for.
const earlierWait = 15 * time.Minute

// awaitEarlierSwitch waits for the switch of a run that was interrupted: until
// it has ended, NixOS refuses another one, and until the guest has taken it back
// nobody knows what it runs. A dry run only mentions it.
func (d *deployment) awaitEarlierSwitch(ctx context.Context, g *guestSide, probe microvm.StorePath) error {
	d.guest = g // for the time being: following needs it
	defer func() { d.guest = nil }()
	ctx, cancel := context.WithTimeout(ctx, earlierWait)
	defer cancel()
	err := d.awaitEarlier(ctx, g.facts)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &RefusedError{
			Message: fmt.Sprintf("an earlier switch in %s has not ended within %s", d.req.Target, earlierWait),
			Next:    "look at the units ferry-* in the guest, or run again to wait longer",
		}
	}
	if err != nil || d.req.DryRun {
		return err
	}
	g.facts, err = guest.Look(ctx, g.conn, probe)
	return err
}

func (d *deployment) awaitEarlier(ctx context.Context, f guest.Facts) error {
	if f.Switching != "" {
		d.step("the switch of deployment %s is still under way in %s", f.Switching, d.req.Target)
		if d.req.DryRun {
			return nil
		}
		log := d.Report.Log(d.subject())
		defer log.Close()
		status, err := d.follow(ctx, f.Switching, log)
		if err != nil {
			return err
		}
		if err := switchFailure(status, d.req.Target); err != nil {
			d.Report.Warn("that switch failed: %v", err)
		}
	}
	if f.Armed == "" {
		return nil
	}
	d.step("nobody has confirmed the switch of deployment %s in %s: waiting until the guest has undone it", f.Armed, d.req.Target)
	if d.req.DryRun {
		return nil
	}
	status, err := d.followUndo(ctx, f.Armed)
	if err == nil && status.Rebooting {
		err = fmt.Errorf("the guest at %s boots, to undo an earlier switch: run again when it is up", d.req.Target)
	}
	return err
}
