package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
)

const (
	// undoLive bounds how long a guest may take to go back.
	undoLive = 20 * time.Minute
	// undoReach bounds how long an interrupted run tries to tell the guest.
	undoReach = time.Minute
)

// undoGuest has the guest go back and sees what it runs then. It returns nil if
// the switch turns out to be confirmed, else the cause. The guest goes back by
// itself where it can't be told: then it is waited for.
func (d *deployment) undoGuest(ctx context.Context, sw guest.Switch, cause error) error {
	within := d.req.Confirm.within(confirmLive)
	reach := within + hostapi.Grace(within) + guestReturn
	if ctx.Err() != nil {
		d.step("interrupted: telling %s to undo the switch (Ctrl-C again leaves that to the guest)", d.req.Target)
		reach = undoReach
	} else {
		d.step("undoing the switch in %s: %v", d.req.Target, cause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLive)
	defer cancel()
	answer, boot, err := d.tellUndo(ctx, sw.ID, time.Now().Add(reach))
	switch {
	case err != nil:
		d.Report.Warn("%s: the guest could not be told to undo the switch: %v", d.req.Name, err)
		return cause
	case answer == guest.UndoConfirmed:
		d.guest.facts.BootID = boot
		return nil
	case answer == guest.UndoNothing && boot == d.guest.facts.BootID:
		d.guest.open, d.undone = false, true
		d.state = "the switch was called off before it began; nothing was changed"
		d.tellHost(ctx, false)
		return cause
	}
	how := "undone"
	if answer == guest.Undoing {
		status, err := d.followUndo(ctx, sw.ID)
		switch {
		case err != nil:
			d.Report.Warn("%s: the undo in the guest can't be followed: %v", d.req.Name, err)
			return cause
		case status.Confirmed:
			return nil
		case status.Code == 4:
			how = "undone (units of the previous system failed)"
		}
		if status.Rebooting || status.Lost {
			how, boot = "undone by a boot", ""
		}
	}
	return d.seeUndone(ctx, cause, how, boot)
}

// tellUndo asks for the undo, first over the connection that there is, which
// works also where the switch has broken the login.
func (d *deployment) tellUndo(ctx context.Context, id string, until time.Time) (answer guest.UndoAnswer, boot string, err error) {
	first, cancel := context.WithTimeout(ctx, guestLogin)
	answer, boot, err = guest.Undo(first, d.guest.conn, id)
	cancel()
	for err != nil && time.Now().Before(until) && ctx.Err() == nil {
		conn, rerr := d.reach(ctx, until)
		if rerr == nil {
			answer, boot, rerr = guest.Undo(ctx, conn, id)
			_ = conn.Close()
		}
		if err = rerr; err != nil {
			// Also a login that is refused comes back once the guest has gone back.
			select {
			case <-ctx.Done():
			case <-time.After(guestPoll):
			}
		}
	}
	return answer, boot, err
}

// followUndo shows the undo's output until it has ended.
func (d *deployment) followUndo(ctx context.Context, id string) (guest.UndoStatus, error) {
	log := d.Report.Log(d.subject())
	defer log.Close()
	var status guest.UndoStatus
	var offset int64
	err := d.following(ctx, func(sh guest.Shell) (err error) {
		for range 3 { // the unit that undoes may have been killed for good
			if status, offset, err = guest.FollowUndo(ctx, sh, id, offset, log); err != nil || !status.Died {
				return err
			}
			if _, _, err = guest.Undo(ctx, sh, id); err != nil {
				return err
			}
		}
		return errors.New("the unit that undoes the switch ends again and again")
	})
	return status, err
}

// seeUndone looks over a new connection at what the guest runs after an undo, in
// another boot than the given one where that is empty, and tells the host.
func (d *deployment) seeUndone(ctx context.Context, cause error, how, boot string) error {
	before := d.guest.facts
	until := time.Now().Add(guestReturn)
	var facts guest.Facts
	for {
		look, cancel := context.WithDeadline(ctx, until)
		var err error
		facts, err = d.askAgain(look)
		cancel()
		if err == nil && (boot != "" || facts.BootID != before.BootID) {
			break
		}
		if !time.Now().Before(until) || ctx.Err() != nil {
			d.Report.Warn("%s: what the guest runs after the undo can't be seen: %v", d.req.Name, err)
			return cause
		}
		select {
		case <-ctx.Done():
		case <-time.After(guestPoll):
		}
	}
	d.guest.facts, d.guest.open = facts, false
	d.result.BootID = facts.BootID
	booted := facts.BootID != before.BootID
	d.undone = facts.Current != "" && (facts.Current == before.Current || booted)
	if d.attached != nil && before.Current == "" { // nobody here knows what it ran before
		d.undone = d.undone || facts.Current != "" && facts.Current != d.plan.System
	}
	d.state = fmt.Sprintf("%s: the guest runs %s; `current` on the host was not touched", how, orUnknown(facts.Current))
	d.tellHost(ctx, !d.undone)
	return cause
}
