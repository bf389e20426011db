package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/guest"
	"ferry/internal/host"
	"ferry/internal/microvm"
)

// AttachRequest names a deployment that was left, and where.
type AttachRequest struct {
	Host     microvm.Address
	HostSudo bool
	ID       string       // empty: the only one that has not ended
	Name     microvm.Name // empty: of any VM; else its last one where all have ended
	// TargetSudo: become root in the guest with sudo, also where the deployment
	// did not.
	TargetSudo bool
	// TakeOver ends a session that has the deployment still: one of a connection
	// that is gone, but not for the host.
	TakeOver bool
}

// NoDeploymentError says that a host has no such deployment.
type NoDeploymentError struct {
	Host microvm.Address
	What string // is not there
}

func (e *NoDeploymentError) Error() string { return fmt.Sprintf("%s has %s", e.Host, e.What) }

// Hint is what to do next.
func (e *NoDeploymentError) Hint() string { return "ferry history NAME lists the deployments of a VM" }

// Attach goes on with a deployment that its operator has left: it waits for what
// is under way on the host, and makes the checks whose answer the host or the
// guest waits for, or tells how it has ended. Nothing is evaluated or built.
func (d *Deployer) Attach(ctx context.Context, req AttachRequest) (*Result, error) {
	run := d.begin(Request{Name: req.Name, Host: &req.Host, HostSudo: req.HostSudo, Action: host.ActionSwitch})
	defer run.close()
	if err := run.findLeft(ctx, req); err != nil {
		return run.end(ctx, err)
	}
	return run.end(ctx, run.attach(ctx, req))
}

// findLeft finds out which deployment is meant.
func (d *deployment) findLeft(ctx context.Context, req AttachRequest) error {
	if err := d.openHost(ctx); err != nil {
		return err
	}
	var found []host.Underway
	if err := d.session.call(ctx, host.Request{Underway: &host.UnderwayRequest{ID: req.ID, Name: req.Name}}, &found); err != nil {
		return err
	}
	switch {
	case len(found) == 0 && req.ID != "":
		return &NoDeploymentError{Host: req.Host, What: fmt.Sprintf("no deployment %.80q", req.ID)}
	case len(found) == 0:
		return &NoDeploymentError{Host: req.Host, What: "no deployment that has not ended"}
	case len(found) > 1:
		var ids []string
		for _, u := range found {
			ids = append(ids, fmt.Sprintf("%s (%s, by %s)", u.Deployment.ID, u.Name, u.Deployment.By))
		}
		return &UsageError{Message: "more than one deployment has not ended: " + strings.Join(ids, ", "), Next: "name one of them"}
	}
	left := found[0]
	d.req.Name, d.req.Attribute, d.id = left.Name, left.Name, left.Deployment.ID
	d.req.Action = left.Deployment.Action
	d.result.VM, d.result.Deployment, d.result.Action = d.req.Name, d.id, d.req.Action
	d.step("deployment %s by %s, begun %s", d.id, left.Deployment.By, left.Deployment.Started.Local().Format(time.DateTime))
	return nil
}

// attach takes the deployment over, or waits for its end.
func (d *deployment) attach(ctx context.Context, req AttachRequest) error {
	d.state = "the host goes on by itself, and undoes what fails"
	var r host.Resumed
	resume := host.ResumeRequest{Name: d.req.Name, ID: d.id, TakeOver: req.TakeOver}
	if err := d.session.call(ctx, host.Request{Resume: &resume}, &r); err != nil {
		return err
	}
	d.result.Runner, d.result.System = r.Runner, r.System
	if r.Outcome != "" {
		d.ended = true
		d.result.Outcome = Outcome(r.Outcome)
		return d.endedAs(&r, fmt.Errorf("deployment %s has failed", d.id))
	}
	d.prepared = true
	if err := d.recall(&r, req.TargetSudo); err != nil {
		return err
	}
	if r.Phase == host.PhaseAwait {
		return d.confirmRestart(ctx, r.Deadline)
	}
	return d.resumeLive(ctx)
}

// recall is what the deployment knew when it was left.
func (d *deployment) recall(r *host.Resumed, sudo bool) error {
	if r.Commit == nil {
		return fmt.Errorf("cannot resume deployment %s: another version of ferry started it", d.id)
	}
	d.plan = host.Plan{
		Runner: r.Runner, System: r.System, HostName: r.HostName,
		Install: r.Commit.Install, Activation: r.Commit.Activation, WriteFlake: r.Commit.UpdateFlake != "",
	}
	ssh := true
	d.record = microvm.Record{Name: d.req.Name, HostName: r.HostName, SSH: &ssh}
	if r.Commit.Record != nil {
		d.record = *r.Commit.Record
	}
	if r.Commit.Generation != 0 {
		d.back = &goBack{to: host.Generation{Number: r.Commit.Generation, Runner: r.Runner}}
	}
	d.req.UpdateFlake, d.result.Generation = r.Commit.UpdateFlake, r.Commit.Generation
	c := r.Commit.Confirm
	d.req.Confirm = Confirm{
		NoRollback: c.NoRollback, AcceptFailedUnits: c.AcceptFailedUnits, Checks: c.Checks, Command: c.Command,
		Timeout: time.Duration(c.Seconds) * time.Second,
	}
	address, err := microvm.ParseAddress(r.Deployment.Target)
	if err != nil || address.Local {
		return fmt.Errorf("the target that %s has recorded is no address: %.80q", d.req.Host, r.Deployment.Target)
	}
	d.req.Target, d.req.TargetSudo = &address, sudo || r.Deployment.TargetSudo
	return nil
}

// resumeLive goes on with a live switch: one that the guest still waits to have
// confirmed is confirmed or undone; of one that is over the host is told.
func (d *deployment) resumeLive(ctx context.Context) error {
	conn, err := d.dialGuest(ctx, true)
	if err != nil {
		return &guestDownError{target: *d.req.Target, name: d.req.Name, err: err}
	}
	d.guest = &guestSide{conn: conn}
	if err := conn.Root(ctx); err != nil {
		return fmt.Errorf("the guest at %s: %w", d.req.Target, err)
	}
	if d.guest.facts, err = guest.Look(ctx, conn, ""); err != nil {
		return err
	}
	if err := d.checkGuest(d.guest.facts, ""); err != nil {
		return err
	}
	f := d.guest.facts
	if f.Switching == d.id || f.Armed == d.id {
		return d.confirmLive(ctx, d.guestSwitch())
	}
	if f.Switching != "" || f.Armed != "" {
		return errors.New("another deployment switches the guest meanwhile")
	}
	if f.Current == d.plan.System { // it was confirmed, and only the host does not know
		return d.commitLive(ctx)
	}
	d.tellHost(ctx, false)
	d.undone = true
	d.state = fmt.Sprintf("the guest has undone it by itself: it runs %s", orUnknown(f.Current))
	return fmt.Errorf("nobody has confirmed deployment %s", d.id)
}
