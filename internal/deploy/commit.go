package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
)

const (
	// hostReturn bounds how long a host may be out of reach in the middle of a
	// deployment before the user is told how things are instead.
	hostReturn = 3 * time.Minute
	hostPoll   = time.Second
	// undoWait bounds how long the host may take to undo: a stop and a start.
	undoWait = 11 * time.Minute
)

// commit has the host install, and start the unit where the plan says so. Where
// the connection is lost meanwhile, the host goes on; what has become of it is
// asked over a new one.
func (d *deployment) commit(ctx context.Context, c hostapi.CommitRequest) (hostapi.Committed, error) {
	c = d.complete(c)
	var done hostapi.Committed
	err := d.session.Call(ctx, hostapi.Request{Commit: &c}, &done)
	if !isLost(err) {
		return done, err
	}
	r, rerr := d.reattach(ctx, err)
	switch {
	case rerr != nil:
		return done, rerr
	case r.Phase == hostapi.PhaseAwait:
		return hostapi.Committed{Deadline: r.Deadline}, nil
	case r.Outcome == "": // a live switch whose commit never arrived
		return done, d.session.Call(ctx, hostapi.Request{Commit: &c}, &done)
	}
	d.ended = true
	return done, d.endedAs(r, err)
}

// complete fills in what is the same in all commits of a deployment.
func (d *deployment) complete(c hostapi.CommitRequest) hostapi.CommitRequest {
	c.Name, c.Runner, c.Record, c.UpdateFlake = d.req.Name, d.plan.Runner, d.knownRecord(), ""
	if d.back != nil {
		c.Generation = d.back.to.Number
	}
	if d.plan.WriteFlake {
		c.UpdateFlake = d.req.UpdateFlake
	}
	return c
}

// endedAs is nil where the host has brought the deployment to a good end by
// itself, else what it did instead.
func (d *deployment) endedAs(r *hostapi.Resumed, lost error) error {
	switch outcome := Outcome(r.Outcome); {
	case outcome == OutcomeRolledBack, r.Settled == hostapi.SettledUndone:
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), RolledBack: true, State: r.Error}
	case r.Settled == hostapi.SettledUnconfirmed, r.Settled == hostapi.SettledSuperseded:
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), State: r.Error}
	case outcome == outcomeInterrupted && r.Settled == "":
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), State: nothingChanged}
	case outcome == OutcomeFailed:
		return fmt.Errorf("deployment %s: %s", d.id, r.Error)
	}
	return nil
}

// outcomeInterrupted is the history's word for a deployment that was cut off.
const outcomeInterrupted Outcome = "interrupted"

// confirmation says what the host has to see after it has started the unit.
func (d *deployment) confirmation() hostapi.Confirmation {
	c := d.req.Confirm
	return hostapi.Confirmation{
		NoRollback: c.NoRollback, Checks: c.Checks, Await: d.asksGuest(),
		Seconds: int(c.within(confirmRestart).Seconds()),
		Command: c.Command, AcceptFailedUnits: c.AcceptFailedUnits,
	}
}

// asksGuest: after a restart the operator logs in and finds the new system.
func (d *deployment) asksGuest() bool {
	return d.req.Target != nil && d.plan.System != "" && d.record.SSH != nil && *d.record.SSH
}

// restart commits first: the unit boots what `current` names.
func (d *deployment) restart(ctx context.Context) error {
	d.state = fmt.Sprintf("the host goes on by itself, and undoes what fails; how it ended: %s", d.attachHint())
	d.noteUnits(ctx)
	c := hostapi.CommitRequest{Install: d.plan.Install, Activation: d.plan.Activation, Confirm: d.confirmation()}
	d.remember(c)
	done, err := d.commit(ctx, c)
	if err != nil {
		if d.req.Confirm.NoRollback && !isLost(err) && ctx.Err() == nil {
			d.state = fmt.Sprintf("`current` is the new runner, and --no-rollback leaves it so; the previous one is %s", cmp.Or(string(d.plan.Previous), "none: the VM is new"))
		}
		return err
	}
	d.result.Generation = done.Generation
	if d.ended {
		return d.restarted(ctx)
	}
	return d.confirmRestart(ctx, done.Deadline)
}

// confirmRestart looks into the guest, and tells the host.
func (d *deployment) confirmRestart(ctx context.Context, deadline time.Time) error {
	if err := d.awaitGuest(ctx); err != nil {
		return d.undoRestart(ctx, err, deadline)
	}
	return d.restarted(ctx)
}

// restarted ends a deployment whose unit is well.
func (d *deployment) restarted(ctx context.Context) error {
	d.state = "installed, and its unit is up"
	outcome := OutcomeRestarted
	if d.plan.Activation == hostapi.ActivateStart {
		outcome = OutcomeStarted
	}
	return d.finish(ctx, outcome)
}

// attachHint is how to learn what has become of this deployment.
func (d *deployment) attachHint() string {
	return fmt.Sprintf("ferry attach %s --host %s", d.id, d.req.Host)
}

// undoRestart has the host bring back what ran before.
func (d *deployment) undoRestart(ctx context.Context, cause error, deadline time.Time) error {
	if d.req.Confirm.NoRollback {
		d.state = "installed, and its unit is up; --no-rollback leaves it so"
		return cause
	}
	d.state = fmt.Sprintf("the host undoes it by itself at %s; how it ended: %s", deadline.Local().Format(time.TimeOnly), d.attachHint())
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWait)
	defer cancel()
	undo := hostapi.UndoRequest{Name: d.req.Name, Why: d.forHost(cause)}
	var undone hostapi.Undone
	err := d.session.Call(own, hostapi.Request{Undo: &undo}, &undone)
	if isLost(err) {
		if r, rerr := d.reattach(own, err); rerr == nil && r.Outcome == "" {
			err = d.session.Call(own, hostapi.Request{Undo: &undo}, &undone)
		} else if rerr == nil {
			err = d.endedAs(r, cause)
		}
	}
	var failure *hostapi.Failure
	switch {
	case errors.As(err, &failure) && failure.State != "":
		d.state, d.undone, d.ended = failure.State, failure.RolledBack, true
	case err != nil:
		d.Report.Warn("%v", err)
		d.ended = true
	default:
		d.state, d.undone, d.ended = undone.State, true, true
	}
	return cause
}

// finish is the last word of a deployment that went well. Where the host waits
// for it, it is the confirmation.
func (d *deployment) finish(ctx context.Context, outcome Outcome) error {
	d.result.Outcome = outcome
	if d.ended {
		return nil
	}
	req := hostapi.Request{Finish: &hostapi.FinishRequest{Name: d.req.Name, Outcome: string(outcome)}}
	err := d.session.Call(ctx, req, nil)
	if !isLost(err) {
		return err
	}
	r, err := d.reattach(ctx, err)
	switch {
	case err != nil:
		return err
	case r.Outcome == "":
		return d.session.Call(ctx, req, nil)
	}
	return d.endedAs(r, errors.New("the connection was lost"))
}

// reattach connects to a host again whose connection was lost, and takes the
// deployment over or learns how it has ended. It waits for what is under way
// there.
func (d *deployment) reattach(ctx context.Context, lost error) (*hostapi.Resumed, error) {
	d.step("%v; connecting again", lost)
	r, err := backoff.Retry(ctx, func() (*hostapi.Resumed, error) {
		d.closeHost()
		if err := d.openHost(ctx); err != nil {
			if isLost(err) {
				return nil, err
			}
			return nil, retryable(err)
		}
		var r hostapi.Resumed
		err := d.session.Call(ctx, hostapi.Request{Resume: &hostapi.ResumeRequest{Name: d.req.Name, ID: d.id, TakeOver: true}}, &r)
		switch {
		case isLost(err):
			return nil, err
		case err != nil:
			return nil, backoff.Permanent(err)
		}
		return &r, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(hostPoll)), backoff.WithMaxElapsedTime(hostReturn))
	if err != nil {
		return nil, fmt.Errorf("%w; connecting again: %w", lost, err)
	}
	return r, nil
}

func isLost(err error) bool {
	return hostclient.IsLost(err)
}
