package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

// undoWait bounds how long the host may take to undo: a stop and a start.
const undoWait = 11 * time.Minute

// bootTime is how long a guest may take to boot and be well.
func (c Confirm) bootTime() time.Duration { return cmp.Or(c.Timeout, confirmRestart) }

// asksGuest: after a restart the operator logs in and finds the new system.
func (p progress) asksGuest() bool {
	return p.to.Target != nil && p.plan.System != "" && p.record.SSH != nil && *p.record.SSH
}

// unitsBefore are the units that had failed in the guest before it was
// restarted, where somebody could tell.
type unitsBefore struct {
	failed []string
	known  bool
}

// unitsBefore asks a guest that is about to be restarted which units have failed
// already: those will not be held against the new system.
func (r *run) unitsBefore(ctx context.Context, p progress) unitsBefore {
	if p.guest != nil {
		return unitsBefore{failed: p.guest.facts.FailedUnits, known: true}
	}
	if !p.asksGuest() || !p.facts.VM.Unit.Up() {
		return unitsBefore{}
	}
	ctx, cancel := context.WithTimeout(ctx, guestAsked)
	defer cancel()
	conn, err := r.dial(ctx, remote.Options{Address: *p.to.Target, Sudo: p.to.TargetSudo})
	if err != nil {
		return unitsBefore{}
	}
	defer conn.Close()
	facts, err := guest.Look(ctx, conn, "")
	return unitsBefore{failed: facts.FailedUnits, known: err == nil}
}

// lookInside finds the new system, well, in a guest whose unit was started, and
// has the host bring back what ran before where it doesn't.
func (r *run) lookInside(ctx context.Context, p progress) (progress, error) {
	if !p.plan.Activation.Starts() {
		return p, nil
	}
	if !p.standing.ended && p.asksGuest() {
		p.result.Target = p.to.Target.String()
		boot, err := r.awaitGuest(ctx, p)
		if err != nil {
			return r.undoRestart(ctx, p, fmt.Errorf("after the restart: %w", err))
		}
		p.result.BootID = boot
	}
	p.standing.text = "installed, and its unit is up"
	p.result.Outcome = OutcomeRestarted
	if p.plan.Activation == hostapi.ActivateStart {
		p.result.Outcome = OutcomeStarted
	}
	return p, nil
}

// awaitGuest logs in until the guest confirms itself, or doesn't for good.
func (r *run) awaitGuest(ctx context.Context, p progress) (boot string, err error) {
	door, within := r.door(*p.to.Target, p.to.TargetSudo), p.to.Confirm.bootTime()
	r.say.Step("waiting for %s to boot", p.to.Target)
	until := time.Now().Add(within)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	req := guest.ConfirmRequest{
		System: p.plan.System, FailedBefore: p.before.failed, Command: p.to.Confirm.Command,
		AcceptFailedUnits: p.to.Confirm.AcceptFailedUnits || !p.before.known,
	}
	last := fmt.Errorf("it did not answer within %s", within)
	for {
		a, err := door.Ask(ctx, until, func(sh guest.Shell) (guest.ConfirmAnswer, error) { return guest.CheckBooted(ctx, sh, req) })
		switch {
		case err == nil && a.Confirmed:
			return a.BootID, nil
		case err == nil:
			last = door.Refusal(a, p.plan.System)
		case ctx.Err() == nil:
			last = err
		}
		// The machine that goes down may answer for a moment still.
		again := live.Transient(err) || a.Refused == guest.RefusedSystem || a.Refused == guest.RefusedCommand
		if ctx.Err() == nil && !again {
			return "", last
		}
		select {
		case <-ctx.Done():
			return "", last
		case <-time.After(live.Poll):
		}
	}
}

// undoRestart has the host bring back what ran before.
func (r *run) undoRestart(ctx context.Context, p progress, cause error) (progress, error) {
	if p.to.Confirm.NoRollback {
		p.standing.text = "installed, and its unit is up; --no-rollback leaves it so"
		return p, cause
	}
	p.standing.text = fmt.Sprintf("the host undoes it by itself at %s; how it ended: %s", p.deadline.Local().Format(time.TimeOnly), r.attachHint(p))
	state, err := r.askUndo(ctx, p, cause)
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

// askUndo returns how things are after the host's undo.
func (r *run) askUndo(ctx context.Context, p progress, cause error) (state string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWait)
	defer cancel()
	req := hostapi.Request{Undo: &hostapi.UndoRequest{Name: p.to.Name, Why: p.attached.forHost(cause)}}
	var undone hostapi.Undone
	err = r.host.Call(ctx, req, &undone)
	if isLost(err) {
		if resumed, rerr := r.host.resume(ctx, p.to.Name, r.id, err); rerr == nil && resumed.Outcome == "" {
			err = r.host.Call(ctx, req, &undone)
		} else if rerr == nil {
			err = r.endedAs(resumed, cause)
		}
	}
	return undone.State, err
}
