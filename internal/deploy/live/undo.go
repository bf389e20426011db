package live

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	// undoLimit bounds how long a guest may take to go back.
	undoLimit = 20 * time.Minute
	// undoReach bounds how long an interrupted run tries to tell the guest.
	undoReach = time.Minute
	// goingBack is how long the way back may take at least that nobody sees.
	goingBack = 30 * time.Second
	// seenAgain bounds how long a guest that has gone back may be out of reach.
	seenAgain = time.Minute
)

// undo has the guest go back and sees what it runs then. The switch may turn out
// to be confirmed. The guest goes back by itself where it can't be told: then it
// is waited for until its time is over.
func (c *course) undo(ctx context.Context, cause error) Outcome {
	until, left := c.timeOver(), ctx.Err() != nil
	if left {
		c.Report.Step("interrupted: telling %s to undo the switch (Ctrl-C again leaves that to the guest)", c.Door.Address)
		until = time.Now().Add(undoReach)
	} else {
		c.Report.Step("undoing the switch in %s: %v", c.Door.Address, cause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	answer, boot, err := c.tellUndo(ctx, until, hostapi.Reason(cause.Error()))
	switch {
	case err != nil:
		c.Report.Warn("%s: the guest could not be told to undo the switch: %v", c.VM, err)
		if left {
			return c.open(cause)
		}
		return c.lastResort(ctx, cause)
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

// timeOver is when a guest that nobody can tell anything has gone back by itself: the
// time in which it waits to be confirmed, counted from the switch's end, and then as
// long as the switch took. A switch whose end nobody saw counts as ended by now: its
// guest has been out of reach for guestReturn, or its limit is over.
func (c *course) timeOver() time.Time {
	ended := c.ended
	if ended.IsZero() {
		ended = time.Now()
		if limit := c.Terms.ActivationLimit; limit > 0 && !c.began.IsZero() && c.began.Add(limit).Before(ended) {
			ended = c.began.Add(limit)
		}
	}
	back := goingBack
	if !c.began.IsZero() && !c.ended.IsZero() {
		back = max(back, c.ended.Sub(c.began))
	}
	return ended.Add(c.Terms.Within + hostapi.Grace(c.Terms.Within) + back)
}

// tellUndo asks for the undo, first over the connection that there is, which
// works also where the switch has broken the login.
func (c *course) tellUndo(ctx context.Context, until time.Time, why string) (answer guest.UndoAnswer, boot string, err error) {
	first, cancel := context.WithTimeout(ctx, guestLogin)
	answer, boot, err = guest.Undo(first, c.Conn, c.What.ID, why)
	cancel()
	if err != nil {
		c.Report.Step("the guest at %s does not answer; by %s it has undone the switch by itself", c.Door.Address, until.Format(time.TimeOnly))
	}
	for err != nil && time.Now().Before(until) && ctx.Err() == nil {
		conn, rerr := c.Door.Reach(ctx, until)
		if rerr == nil {
			answer, boot, rerr = guest.Undo(ctx, conn, c.What.ID, why)
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
	case err != nil && Transient(err):
		c.Report.Warn("%s: the undo in the guest can't be followed: %v", c.VM, err)
		return c.lastResort(ctx, cause)
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
	within := guestReturn
	if boot != "" {
		within = seenAgain
	}
	facts, err := c.seeAgain(ctx, boot != "", within)
	if err != nil {
		c.Report.Warn("%s: what the guest runs after the undo can't be seen: %v", c.VM, err)
		return c.lastResort(ctx, cause)
	}
	return c.seen(ctx, cause, how, facts)
}

// seeAgain looks what the guest is, in the same boot or another one.
func (c *course) seeAgain(ctx context.Context, sameBoot bool, within time.Duration) (guest.Facts, error) {
	until := time.Now().Add(within)
	last := fmt.Errorf("the guest at %s has not booted", c.Door.Address)
	for {
		look, cancel := context.WithDeadline(ctx, until)
		facts, err := c.Door.look(look)
		cancel()
		if err == nil && (sameBoot || facts.BootID != c.Before.BootID) {
			return facts, nil
		}
		if err != nil {
			last = err
		}
		if !time.Now().Before(until) || ctx.Err() != nil {
			return facts, last
		}
		select {
		case <-ctx.Done():
		case <-time.After(Poll):
		}
	}
}

// seen is the outcome of a switch that was undone, as the guest says; the host is
// told what it runs.
func (c *course) seen(ctx context.Context, cause error, how string, facts guest.Facts) Outcome {
	out := Outcome{Verdict: Left, Err: cause, BootID: facts.BootID}
	ran := c.ranBefore(ctx)
	if facts.Current != "" && facts.Current == ran {
		out.Verdict = Undone
	}
	out.State = fmt.Sprintf("%s: the guest runs %s; `current` on the host was not touched", how, OrUnknown(facts.Current))
	switch {
	case out.Verdict == Undone:
	case ran == "":
		out.State += "; what it ran before is not known"
	default:
		out.State += "; before, it ran " + string(ran)
	}
	c.Host.Observed(ctx, facts.Current, out.Verdict != Undone)
	return out
}

// ranBefore is what the guest ran before the switch. Where another process began that,
// the guest knows, unless it was booted since.
func (c *course) ranBefore(ctx context.Context) microvm.StorePath {
	if c.Before.Current != "" || !c.Attached {
		return c.Before.Current
	}
	conn, err := c.Door.Reach(ctx, time.Now().Add(guestLogin))
	if err != nil {
		return ""
	}
	defer conn.Close()
	u, err := guest.Why(ctx, conn, c.What.ID)
	if err != nil {
		return ""
	}
	return u.Previous
}

// lastResort ends a switch whose guest has had its time to go back, and can't be
// reached. The host, which may still reach it, restarts it where it can't either.
func (c *course) lastResort(ctx context.Context, cause error) Outcome {
	host := c.Host.Named()
	unknown := func(why string) Outcome {
		c.state = fmt.Sprintf("the guest can't be reached from here, and has had its time to undo the switch by itself, which nobody has seen; `current` on the host is unchanged; %s; %s boots what is installed", why, c.restartHint())
		return c.open(cause)
	}
	if host == "" {
		return unknown("its host is not known")
	}
	c.Report.Step("asking %s whether it reaches the guest; that takes up to %s, and longer if the guest has to be restarted", host, hostapi.RebootQuiet)
	a, err := c.Host.Reboot(ctx, c.Before.Current)
	if err != nil || !a.Restarted { // it may be back by now: the host may have been booted meanwhile
		facts, lerr := c.seeAgain(ctx, true, guestLogin)
		switch {
		case lerr == nil && (facts.Switching != "" || facts.Armed != ""): // it still has time
			return c.open(cause)
		case lerr == nil:
			return c.seen(ctx, cause, "undone", facts)
		}
	}
	switch {
	case err != nil:
		c.Report.Warn("%s: %v", c.VM, err)
		return unknown("whether " + host + " can reach it is not known")
	case !a.Restarted && a.Reached:
		c.state = fmt.Sprintf("undone by the guest itself, as far as can be told: it is not reachable from here, but reachable from %s; `current` on the host is unchanged; once it can be reached from here, running the same command again settles it", host)
		return c.open(cause)
	case !a.Restarted:
		return unknown(cmp.Or(a.Why, host+" has not restarted it"))
	}
	out := c.afterRestart(ctx, cause, a)
	out.LastResort = true
	return out
}

// afterRestart is how things are after the host has restarted the VM.
func (c *course) afterRestart(ctx context.Context, cause error, a hostapi.Rebooted) Outcome {
	host := c.Host.Named()
	how := fmt.Sprintf("the guest was out of reach after its undo, also from %s, which has restarted it: %s", host, a.Why)
	if facts, err := c.seeAgain(ctx, false, seenAgain); err == nil {
		return c.seen(ctx, cause, how, facts)
	} else if !a.Reached {
		c.state = how + fmt.Sprintf("; it has not come back, neither for %s nor from here (%v); `current` on the host is unchanged; see journalctl -u %s there", host, err, c.VM.Unit())
		return c.open(cause)
	}
	out := Outcome{Verdict: Left, Err: cause, State: how + fmt.Sprintf("; %s reaches it again, but it can't be reached from here; `current` on the host is unchanged", host)}
	if a.System != "" && a.System == c.Before.Current { // as this side knew before
		out.Verdict = Undone
	}
	return out
}

// restartHint is the command that boots what is installed.
func (c *course) restartHint() string {
	host := cmp.Or(c.Host.Named(), "HOST")
	return fmt.Sprintf("`ferry restart %s --host %s`", c.VM, host)
}
