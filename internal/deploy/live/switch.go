package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

const (
	// Within is how long all answers may take after a switch where nobody named
	// another time.
	Within = time.Minute
	// switchStart bounds what precedes a switch: the registration, the profile.
	switchStart = 10 * time.Minute
)

// Host is what a switch in a guest needs of the VM's host.
type Host interface {
	// Check makes the VM's checks until all pass.
	Check(ctx context.Context, until time.Time) error
	// Observed is told what the guest runs, so that it is kept there; failed: the
	// switch to it did. What can't be told is only reported.
	Observed(ctx context.Context, system microvm.StorePath, failed bool)
	// Reboot restarts the VM as a last resort, where the host finds that it must.
	Reboot(ctx context.Context, ran microvm.StorePath) (hostapi.Rebooted, error)
	// Named is the host for people; empty: it is not known.
	Named() string
}

// Terms say what confirms a switch, and what becomes of one that isn't.
type Terms struct {
	Within            time.Duration // for all answers, from the switch's end on
	ActivationLimit   time.Duration // for the switch itself; 0: as long as it wants
	NoRollback        bool          // leave a failure as it is
	AcceptFailedUnits bool
	Command           string // must succeed in the guest; empty: none
}

// Switch is one live switch of a guest.
type Switch struct {
	VM     microvm.Name
	Door   Door
	Conn   Conn         // to the guest, open already
	Before guest.Facts  // what the guest was before
	What   guest.Switch // Window, Limit and NoRollback are set from Terms
	Terms  Terms
	Host   Host
	Report Reporter
	// Attached: another process began it, so what the guest ran before may not be
	// known.
	Attached bool
}

// Verdict is how a switch ended.
type Verdict string

// The verdicts.
const (
	Confirmed Verdict = "confirmed"
	Undone    Verdict = "undone"
	Left      Verdict = "left"
)

// Outcome is how a switch ended, and how things are.
type Outcome struct {
	Verdict Verdict
	Err     error // why; nil if it is confirmed
	// Open: nobody has seen how it ended, and the guest may still decide.
	Open   bool
	State  string // how things are, unless it is confirmed
	BootID string // of the guest as it was seen afterwards; empty: it was not
	// LastResort: the host has restarted the VM.
	LastResort bool
}

// course is a switch under way.
type course struct {
	Switch
	follower
	state string // how things are
	// began is when the switch began, ended when it was seen to have ended; zero: it
	// was not.
	began, ended time.Time
}

func (s Switch) course() *course {
	return &course{Switch: s, follower: follower{door: s.Door, conn: s.Conn, report: s.Report}}
}

// Run switches, and has the switch confirmed or undone.
func (s Switch) Run(ctx context.Context) Outcome {
	s.announce()
	c := s.course()
	c.state = "the guest undoes the switch by itself when it has ended and nobody confirms it; `current` on the host is unchanged; running the same command again settles it"
	if s.Terms.NoRollback {
		c.state = fmt.Sprintf("the switch goes on in the guest as unit ferry-switch-%s; `current` on the host is unchanged; running the same command again settles it", s.What.ID)
	}
	err := c.start(ctx)
	if err != nil {
		return c.decided(ctx, guest.ConfirmAnswer{}, err)
	}
	answer, err := c.seeThrough(ctx)
	return c.decided(ctx, answer, err)
}

// Resume goes on with a switch that another process has begun; state is how
// things are until it is known to have ended.
func (s Switch) Resume(ctx context.Context, state string) Outcome {
	c := s.course()
	c.state = state
	answer, err := c.seeThrough(ctx)
	return c.decided(ctx, answer, err)
}

// Rehearse has the guest say what a switch would do. Nothing is changed.
func (s Switch) Rehearse(ctx context.Context) error {
	s.announce()
	c := s.course()
	if err := c.start(ctx); err != nil {
		return err
	}
	return c.seeEnd(ctx)
}

func (s Switch) announce() {
	s.Report.Step("%s in %s: %s", s.What.Action, s.Door.Address, microvm.SystemBaseName(string(s.What.System)))
}

// start begins the switch in the guest.
func (c *course) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, switchStart)
	defer cancel()
	what := c.What
	what.Window = c.Terms.Within + hostapi.Grace(c.Terms.Within)
	what.Limit, what.NoRollback = c.Terms.ActivationLimit, c.Terms.NoRollback
	c.began = time.Now()
	err := guest.Start(ctx, c.Conn, what)
	var locked *guest.LockedError
	if errors.As(err, &locked) {
		c.state = "nothing was changed"
		return &hostapi.Failure{
			Kind: hostapi.KindLocked, Message: fmt.Sprintf("the guest at %s is locked: %v", c.Door.Address, err),
			Hint: "wait until that is confirmed or undone, and run again", See: trouble.Locked,
		}
	}
	return err
}

// seeThrough follows a switch to its end and confirms it.
func (c *course) seeThrough(ctx context.Context) (guest.ConfirmAnswer, error) {
	if err := c.seeEnd(ctx); err != nil {
		return guest.ConfirmAnswer{}, err
	}
	within := c.Terms.Within
	c.ended = time.Now()
	until := c.ended.Add(within)
	if !c.Terms.NoRollback {
		c.state = fmt.Sprintf("the guest undoes the switch by itself at %s if nobody confirms it; `current` on the host is unchanged; running the same command again settles it",
			until.Add(hostapi.Grace(within)).Format(time.TimeOnly))
	}
	if err := c.Host.Check(ctx, until); err != nil {
		return guest.ConfirmAnswer{}, err
	}
	return c.confirm(ctx, until)
}

// seeEnd shows the switch's output until it has ended. The error has the end of
// that output.
func (c *course) seeEnd(ctx context.Context) error {
	log := &logTail{to: c.Report.Log()}
	defer log.to.Close()
	status, err := c.theSwitch(ctx, c.What.ID, log)
	if err != nil {
		return err
	}
	if status.Code == 4 && c.Terms.AcceptFailedUnits {
		c.Report.Warn("%s: units failed in the guest; accepted", c.VM)
		return nil
	}
	if err = failure(status, c.Door.Address); err == nil {
		return nil
	}
	if status.Late {
		err = fmt.Errorf("the switch in the guest at %s took longer than %s, the activation limit", c.Door.Address, c.Terms.ActivationLimit)
	}
	f := &hostapi.Failure{Kind: hostapi.KindFailed, Message: err.Error(), Log: log.lines}
	switch {
	case status.Code == 4:
		f.Hint, f.See = failedUnitsHint, trouble.UnitsFailed
	case status.Late:
		f.Hint = "give it more time with --activation-limit, or see in the output above what it waited for"
	case status.Code != 0:
		f.Hint = "the end of its output is above; --no-rollback leaves things as they are after it, to look at them"
	}
	return f
}

// confirm logs in anew and decides that the switch stays, if the guest is as it
// should be. What the command says may be different a moment later.
func (c *course) confirm(ctx context.Context, until time.Time) (guest.ConfirmAnswer, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	req := guest.ConfirmRequest{
		ID: c.What.ID, System: c.What.System, AcceptFailedUnits: c.Terms.AcceptFailedUnits, Command: c.Terms.Command,
	}
	last := fmt.Errorf("the guest at %s did not answer", c.Door.Address)
	for {
		a, err := c.Door.Ask(ctx, until, func(sh guest.Shell) (guest.ConfirmAnswer, error) { return guest.Confirm(ctx, sh, req) })
		switch {
		case err == nil && a.Confirmed:
			return a, nil
		case err == nil && a.Undone:
			return a, UndoneByItself(c.Door.Address.String(), a.Why, a.Output)
		case err == nil:
			last = c.Door.Refusal(a, c.What.System)
		case ctx.Err() == nil:
			last = err
		}
		if ctx.Err() == nil && !Transient(err) && a.Refused != guest.RefusedCommand {
			return a, last
		}
		select {
		case <-ctx.Done():
			return a, last
		case <-time.After(Poll):
		}
	}
}

// decided ends a switch: kept, left or undone.
func (c *course) decided(ctx context.Context, a guest.ConfirmAnswer, err error) Outcome {
	var refused *guest.RefusedError
	var locked *hostapi.Failure
	switch {
	case err == nil:
		return confirmed(a.BootID)
	case errors.As(err, &refused), errors.As(err, &locked) && locked.Kind == hostapi.KindLocked: // nothing is left of the attempt
		return Outcome{Verdict: Left, Err: err, State: c.state}
	case c.Terms.NoRollback:
		return c.leave(ctx, err)
	}
	return c.undo(ctx, err)
}

func confirmed(boot string) Outcome { return Outcome{Verdict: Confirmed, BootID: boot} }

// open is the outcome of a switch of which nobody has seen how it ended.
func (c *course) open(cause error) Outcome {
	return Outcome{Verdict: Left, Err: cause, Open: true, State: c.state}
}

// leave ends a failed switch that is not to be undone: the host notes what the
// guest runs.
func (c *course) leave(ctx context.Context, cause error) Outcome {
	if ctx.Err() != nil {
		return c.open(cause)
	}
	ctx, cancel := context.WithTimeout(ctx, guestReturn)
	defer cancel()
	facts, err := c.Door.look(ctx)
	if err != nil {
		c.Report.Warn("the guest at %s can't be asked what it runs: %v", c.Door.Address, err)
		return c.open(cause)
	}
	if facts.Switching != "" {
		return c.open(cause)
	}
	c.Host.Observed(ctx, facts.Current, true)
	return Outcome{
		Verdict: Left, Err: cause, BootID: facts.BootID,
		State: fmt.Sprintf("the guest runs %s; `current` on the host is unchanged", OrUnknown(facts.Current)),
	}
}
