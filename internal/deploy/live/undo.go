package live

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
)

const (
	// undoLimit bounds how long a guest may take to go back.
	undoLimit = 20 * time.Minute
	// undoReach bounds how long an interrupted run tries to tell the guest.
	undoReach = time.Minute
)

// undo has the guest go back and sees what it runs then. The switch may turn out
// to be confirmed. The guest goes back by itself where it can't be told: then it
// is waited for.
func (c *course) undo(ctx context.Context, cause error) Outcome {
	reach := c.Terms.Within + hostapi.Grace(c.Terms.Within) + guestReturn
	if ctx.Err() != nil {
		c.Report.Step("interrupted: telling %s to undo the switch (Ctrl-C again leaves that to the guest)", c.Door.Address)
		reach = undoReach
	} else {
		c.Report.Step("undoing the switch in %s: %v", c.Door.Address, cause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	answer, boot, err := c.tellUndo(ctx, time.Now().Add(reach))
	switch {
	case err != nil:
		c.Report.Warn("%s: the guest could not be told to undo the switch: %v", c.VM, err)
		return c.open(cause)
	case answer == guest.UndoConfirmed:
		return confirmed(boot)
	case answer == guest.UndoNothing && boot == c.Before.BootID:
		c.Host.Observed(ctx, c.Before.Current, false)
		return Outcome{Verdict: Undone, Err: cause, State: "the switch was called off before it began; nothing was changed"}
	case answer == guest.Undoing:
		return c.awaitUndone(ctx, cause, boot)
	}
	return c.seeUndone(ctx, cause, "undone", boot)
}

// tellUndo asks for the undo, first over the connection that there is, which
// works also where the switch has broken the login.
func (c *course) tellUndo(ctx context.Context, until time.Time) (answer guest.UndoAnswer, boot string, err error) {
	first, cancel := context.WithTimeout(ctx, guestLogin)
	answer, boot, err = guest.Undo(first, c.Conn, c.What.ID)
	cancel()
	for err != nil && time.Now().Before(until) && ctx.Err() == nil {
		conn, rerr := c.Door.Reach(ctx, until)
		if rerr == nil {
			answer, boot, rerr = guest.Undo(ctx, conn, c.What.ID)
			_ = conn.Close()
		}
		if err = rerr; err != nil {
			// Also a login that is refused comes back once the guest has gone back.
			select {
			case <-ctx.Done():
			case <-time.After(Poll):
			}
		}
	}
	return answer, boot, err
}

// awaitUndone follows an undo, in the given boot, to its end.
func (c *course) awaitUndone(ctx context.Context, cause error, boot string) Outcome {
	how := "undone"
	status, err := c.theUndo(ctx, c.What.ID)
	switch {
	case err != nil:
		c.Report.Warn("%s: the undo in the guest can't be followed: %v", c.VM, err)
		return c.open(cause)
	case status.Confirmed:
		return confirmed(c.Before.BootID)
	case status.Code == 4:
		how = "undone (units of the previous system failed)"
	}
	if status.Rebooting || status.Lost {
		how, boot = "undone by a boot", ""
	}
	return c.seeUndone(ctx, cause, how, boot)
}

// seeUndone looks over a new connection at what the guest runs after an undo, in
// another boot than the given one where that is empty, and tells the host.
func (c *course) seeUndone(ctx context.Context, cause error, how, boot string) Outcome {
	until := time.Now().Add(guestReturn)
	var facts guest.Facts
	for {
		look, cancel := context.WithDeadline(ctx, until)
		var err error
		facts, err = c.Door.look(look)
		cancel()
		if err == nil && (boot != "" || facts.BootID != c.Before.BootID) {
			break
		}
		if !time.Now().Before(until) || ctx.Err() != nil {
			c.Report.Warn("%s: what the guest runs after the undo can't be seen: %v", c.VM, err)
			return c.open(cause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(Poll):
		}
	}
	out := Outcome{Verdict: Left, Err: cause, BootID: facts.BootID}
	if c.isBack(facts) {
		out.Verdict = Undone
	}
	out.State = fmt.Sprintf("%s: the guest runs %s; `current` on the host was not touched", how, OrUnknown(facts.Current))
	c.Host.Observed(ctx, facts.Current, out.Verdict != Undone)
	return out
}

// isBack reports whether a guest runs what it ran before the switch.
func (c *course) isBack(now guest.Facts) bool {
	switch {
	case now.Current == "":
		return false
	case now.Current == c.Before.Current || now.BootID != c.Before.BootID:
		return true
	}
	// Nobody here knows what it ran before.
	return c.Attached && c.Before.Current == "" && now.Current != c.What.System
}
