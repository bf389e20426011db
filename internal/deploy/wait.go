package deploy

import (
	"context"

	"ferry/internal/hostapi"
)

// mustWait: another deployment works on the VM, and the user waits for it to
// end. What is there now will not be there then, so it is not looked at closely.
func (d *deployment) mustWait() bool {
	return d.facts.Lock != nil && d.req.Wait > 0 && !d.req.DryRun && !d.prepared
}

// seeAnew asks anew what another deployment may have changed until it let go
// of the lock. The guest is asked when the decision needs it.
func (d *deployment) seeAnew(ctx context.Context) error {
	d.guest.close()
	d.guest = nil
	if d.back == nil {
		return d.probe(ctx)
	}
	d.back.reason, d.intent.Restart = "", d.req.Restart
	if err := d.askFacts(ctx, hostapi.ProbeRequest{Name: d.req.Name}); err != nil {
		return err
	}
	d.result.Previous = d.facts.VM.Current
	if d.up != nil {
		d.intent.Action = d.req.Action
		return nil
	}
	var t hostapi.RollbackTarget
	err := d.session.Call(ctx, hostapi.Request{Rollback: &hostapi.RollbackRequest{Name: d.req.Name, To: d.back.to.Number}}, &t)
	d.back.to.Current = t.Generation.Current
	return err
}
