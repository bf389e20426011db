package deploy

import (
	"context"

	"ferry/internal/guest"
	"ferry/internal/microvm"
)

// awaitEarlierSwitch waits for the switch of a run that was interrupted: until
// it has ended, NixOS refuses another one, and what the guest runs is not
// settled. A dry run only mentions it.
func (d *deployment) awaitEarlierSwitch(ctx context.Context, g *guestSide, probe microvm.StorePath) error {
	d.step("the switch of deployment %s is still under way in %s", g.facts.Switching, d.req.Target)
	if d.req.DryRun {
		return nil
	}
	status, err := d.follow(ctx, g.conn, g.facts.Switching)
	if err != nil {
		return err
	}
	if err := switchFailure(status, d.req.Target); err != nil {
		d.Report.Warn("that switch failed: %v", err)
	}
	g.facts, err = guest.Look(ctx, g.conn, probe)
	return err
}
