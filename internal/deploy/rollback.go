package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// RollbackRequest is what the user wants to go back to.
type RollbackRequest struct {
	Name     microvm.Name
	Host     microvm.Address
	HostSudo bool
	// Target wins over what the last deployment recorded on the host; nil: that.
	Target     *microvm.Address
	TargetSudo bool
	To         int                   // a generation; 0: the one before the current
	Restart    hostapi.RestartPolicy // empty: auto
	DryRun     bool
	Confirm    Confirm
	Wait       time.Duration // for the VM's lock; 0: not
}

// Rollback makes an earlier generation the VM's current one, and brings what
// runs to it as a rebuild does: live where possible, else by a restart. Unlike
// a rebuild it restarts also where the guest can't be reached: that may be just
// why one goes back. Nothing is evaluated or built.
func (d *Deployer) Rollback(ctx context.Context, req RollbackRequest) (*Result, error) {
	if req.Restart == "" {
		req.Restart = hostapi.RestartAuto
	}
	run := d.begin(Request{
		Attribute: req.Name, Name: req.Name, Host: &req.Host, HostSudo: req.HostSudo,
		Target: req.Target, TargetSudo: req.TargetSudo,
		Action: hostapi.ActionSwitch, Restart: req.Restart, DryRun: req.DryRun,
		Confirm: req.Confirm, Wait: req.Wait,
	})
	defer run.close()
	run.result.Rollback = true
	return run.end(ctx, run.rollback(ctx, req.To))
}

// goBack is what a deployment has to know when it is a rollback, or an update: a
// new generation, which has no number yet.
type goBack struct {
	to hostapi.Generation
	// reason: why the unit is restarted though the system could be switched.
	reason string
}

func (d *deployment) rollback(ctx context.Context, to int) error {
	if err := d.lookBack(ctx, to); err != nil {
		return err
	}
	if !d.mustWait() {
		if err := d.planBack(ctx); err != nil {
			return err
		}
		if d.plan.Nothing() || d.req.DryRun {
			d.result.fromPlan(d.plan)
			d.result.Outcome, d.result.Generation = OutcomeUnchanged, d.back.to.Number
			if d.req.DryRun {
				d.result.Outcome = OutcomeDryRun
			}
			return nil
		}
	}
	if err := d.prepare(ctx); err != nil {
		return d.repeatable(err)
	}
	if err := d.planBack(ctx); err != nil { // as it is now that nobody else works on it
		return d.repeatable(err)
	}
	d.result.fromPlan(d.plan)
	return d.repeatable(d.carryOut(ctx))
}

// lookBack connects to the host and asks what there is to go back to.
func (d *deployment) lookBack(ctx context.Context, to int) error {
	if err := d.openHost(ctx); err != nil {
		return err
	}
	if err := d.askFacts(ctx, hostapi.ProbeRequest{Name: d.req.Name}); err != nil {
		return err
	}
	d.result.Previous = d.facts.VM.Current
	var t hostapi.RollbackTarget
	if err := d.session.Call(ctx, hostapi.Request{Rollback: &hostapi.RollbackRequest{Name: d.req.Name, To: to}}, &t); err != nil {
		return err
	}
	d.back = &goBack{to: t.Generation}
	d.record = microvm.Record{Name: d.req.Name, HostName: t.HostName}
	if t.Record != nil {
		d.record = *t.Record
	}
	if d.req.Target == nil && t.Target != "" {
		address, err := microvm.ParseAddress(t.Target)
		if err != nil || address.Local {
			return fmt.Errorf("the target that %s has recorded is no address: %.80q", d.req.Host, t.Target)
		}
		d.req.Target, d.req.TargetSudo = &address, d.req.TargetSudo || t.TargetSudo
	}
	d.result.System = t.Generation.System
	d.intent = hostapi.Intent{Action: hostapi.ActionSwitch, Restart: d.req.Restart, TargetKnown: d.req.Target != nil}
	d.step("going back to generation %d: %s", t.Generation.Number, orUnknown(t.Generation.System))
	return nil
}

// planBack has the host decide, asks the guest where it is to be switched live,
// and decides for a restart where it can't be.
func (d *deployment) planBack(ctx context.Context) error {
	if err := d.askPlan(ctx); err != nil {
		return err
	}
	if d.plan.Activation == hostapi.ActivateLive && d.guest == nil {
		g, why, err := d.reachGuest(ctx)
		if err != nil {
			return err
		}
		d.guest = g
		if why != "" {
			d.back.reason, d.intent.Restart = why, hostapi.RestartAlways
		}
		if err := d.askPlan(ctx); err != nil {
			return err
		}
	}
	if d.back.reason != "" && d.plan.Activation == hostapi.ActivateRestart {
		d.plan.Reason = d.back.reason
	}
	// The generation counts, also where another one holds the same.
	d.plan.Install = d.plan.Install || !d.back.to.Current
	return nil
}

func (d *deployment) askPlan(ctx context.Context) error {
	req := hostapi.PlanRequest{
		Name: d.req.Name, Runner: d.back.to.Runner, Record: d.knownRecord(),
		GuestSystem: d.guest.current(), Intent: d.intent,
	}
	d.plan = hostapi.Plan{}
	return d.session.Call(ctx, hostapi.Request{Plan: &req}, &d.plan)
}

// knownRecord is the runner's record, or nil where ferry has evaluated none.
func (d *deployment) knownRecord() *microvm.Record {
	if d.record.Runner.Drv == "" {
		return nil
	}
	return &d.record
}

// reachGuest connects to the guest for a live switch; why says what stands
// against one, where a restart does instead.
func (d *deployment) reachGuest(ctx context.Context) (g *guestSide, why string, err error) {
	if d.req.Target == nil {
		why = "the address of its system is not known"
	} else if g, err = d.openGuest(ctx, d.facts.VM.Current); err != nil {
		var ce *remote.ConnectError
		if !errors.As(err, &ce) || (ce.Kind != remote.Unreachable && ce.Kind != remote.Dropped) {
			return nil, "", err
		}
		why = "its system does not answer: " + ce.Error()
	}
	if why != "" && d.req.Restart == hostapi.RestartNever {
		return nil, "", &RefusedError{
			Message: fmt.Sprintf("%s can't be switched while it runs: %s", d.req.Name, why),
			Next:    "name its address with --target, or leave out --restart=never",
		}
	}
	return g, why, nil
}

// repeatable adds to how things are that the same command may mean another
// generation by now.
func (d *deployment) repeatable(err error) error {
	if err != nil && d.state != nothingChanged {
		d.state += fmt.Sprintf(" (to repeat it: ferry rollback %s --to %d)", d.req.Name, d.back.to.Number)
	}
	return err
}
