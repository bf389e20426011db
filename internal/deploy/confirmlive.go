package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// checkOnHost has the host make the VM's checks until all pass.
func (d *deployment) checkOnHost(ctx context.Context, until time.Time) error {
	checks := d.req.Confirm.Checks
	if checks.Empty() {
		return nil
	}
	if d.session == nil {
		d.Report.Warn("%s: its checks are made on the host, which is not known; name it with --host", d.req.Name)
		return nil
	}
	d.step("checking from %s", d.req.Host)
	call := func() error {
		left := max(1, int(time.Until(until).Round(time.Second).Seconds()))
		return d.session.Call(ctx, hostapi.Request{Check: &hostapi.CheckRequest{Name: d.req.Name, Checks: checks, Seconds: left}}, nil)
	}
	err := call()
	if isLost(err) {
		again, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		if _, err = d.reattach(again, err); err == nil {
			err = call()
		}
	}
	if ctx.Err() != nil {
		d.closeHost() // its answer is still to come, and nobody waits for it
	}
	return err
}

// confirmGuest logs in anew and decides that the switch stays, if the guest is
// as it should be. What the command says may be different a moment later.
func (d *deployment) confirmGuest(ctx context.Context, sw guest.Switch, until time.Time) (guest.ConfirmAnswer, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	req := guest.ConfirmRequest{
		ID: sw.ID, System: sw.System, AcceptFailedUnits: d.req.Confirm.AcceptFailedUnits, Command: d.req.Confirm.Command,
	}
	last := fmt.Errorf("the guest at %s did not answer", d.req.Target)
	for {
		a, err := d.askGuest(ctx, until, func(sh guest.Shell) (guest.ConfirmAnswer, error) { return guest.Confirm(ctx, sh, req) })
		switch {
		case err == nil && a.Confirmed:
			return a, nil
		case err == nil:
			last = d.refusal(a, sw.System)
		case ctx.Err() == nil:
			last = err
		}
		if ctx.Err() == nil && !transient(err) && a.Refused != guest.RefusedCommand {
			return a, last
		}
		select {
		case <-ctx.Done():
			return a, last
		case <-time.After(guestPoll):
		}
	}
}

// askGuest asks over a connection of its own: that one can log in is a part of
// what is to be confirmed.
func (d *deployment) askGuest(ctx context.Context, until time.Time, ask func(guest.Shell) (guest.ConfirmAnswer, error)) (guest.ConfirmAnswer, error) {
	conn, err := d.reach(ctx, until)
	if err != nil {
		return guest.ConfirmAnswer{}, fmt.Errorf("logging in to %s: %w", d.req.Target, err)
	}
	defer conn.Close()
	return ask(conn)
}

// refusal says why the guest was not confirmed.
func (d *deployment) refusal(a guest.ConfirmAnswer, system microvm.StorePath) error {
	switch a.Refused {
	case guest.RefusedLost:
		return fmt.Errorf("the guest at %s was booted while it was being switched", d.req.Target)
	case guest.RefusedSwitching:
		return fmt.Errorf("the switch in the guest at %s has not ended", d.req.Target)
	case guest.RefusedSystem:
		return fmt.Errorf("the guest at %s runs %s instead of %s", d.req.Target, orUnknown(a.Current), system)
	case guest.RefusedUnits:
		return &hostapi.Failure{
			Kind:    hostapi.KindFailed,
			Message: fmt.Sprintf("units have failed in the guest at %s: %.500s", d.req.Target, strings.Join(a.FailedUnits, ", ")),
			Hint:    "their logs: journalctl -u UNIT in the guest; --accept-failed-units takes it as it is",
		}
	case guest.RefusedCommand:
		lines := strings.Split(a.Output, "\n")
		return &hostapi.Failure{
			Kind:    hostapi.KindHealth,
			Message: fmt.Sprintf("the check command failed in the guest at %s with exit status %d", d.req.Target, a.Code),
			Log:     lines[max(0, len(lines)-maxTail):],
		}
	}
	return fmt.Errorf("the guest at %s has undone the switch by itself", d.req.Target)
}

// unitsBefore are the units that had failed in the guest before it was
// restarted, where somebody could tell.
type unitsBefore struct {
	failed []string
	known  bool
}

// noteUnits asks a guest that is about to be restarted which units have failed
// already: those will not be held against the new system.
func (d *deployment) noteUnits(ctx context.Context) {
	if d.guest != nil {
		d.before = unitsBefore{failed: d.guest.facts.FailedUnits, known: true}
		return
	}
	if !d.asksGuest() || !d.facts.VM.Unit.Up() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, guestAsked)
	defer cancel()
	conn, err := d.dialGuest(ctx, false)
	if err != nil {
		return
	}
	defer conn.Close()
	facts, err := guest.Look(ctx, conn, "")
	d.before = unitsBefore{failed: facts.FailedUnits, known: err == nil}
}

// guestAsked bounds a question to a guest whose answer is not needed.
const guestAsked = 15 * time.Second

// awaitGuest logs in after a restart, where the target is known, and finds the
// new system, well.
func (d *deployment) awaitGuest(ctx context.Context) error {
	if !d.asksGuest() {
		return nil
	}
	d.result.Target = d.req.Target.String()
	d.step("waiting for %s to boot", d.req.Target)
	until := time.Now().Add(d.req.Confirm.within(confirmRestart))
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	req := guest.ConfirmRequest{
		System: d.plan.System, FailedBefore: d.before.failed, Command: d.req.Confirm.Command,
		AcceptFailedUnits: d.req.Confirm.AcceptFailedUnits || !d.before.known,
	}
	last := fmt.Errorf("it did not answer within %s", d.req.Confirm.within(confirmRestart))
	for {
		a, err := d.askGuest(ctx, until, func(sh guest.Shell) (guest.ConfirmAnswer, error) { return guest.CheckBooted(ctx, sh, req) })
		switch {
		case err == nil && a.Confirmed:
			d.result.BootID = a.BootID
			return nil
		case err == nil:
			last = d.refusal(a, d.plan.System)
		case ctx.Err() == nil:
			last = err
		}
		// The machine that goes down may answer for a moment still.
		again := transient(err) || a.Refused == guest.RefusedSystem || a.Refused == guest.RefusedCommand
		if ctx.Err() == nil && !again {
			return fmt.Errorf("after the restart: %w", last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after the restart: %w", last)
		case <-time.After(guestPoll):
		}
	}
}
