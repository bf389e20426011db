package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Reporter is told how a switch goes.
type Reporter interface {
	Step(format string, args ...any)
	Warn(format string, args ...any)
	Log() io.WriteCloser
}

// follower follows what goes on in a guest to its end, over new connections where
// one is lost (by a new network configuration, say).
type follower struct {
	door   Door
	conn   guest.Shell // the first
	report Reporter
}

// follow calls f until it succeeds or fails for good. It gives up when the guest
// is out of reach for guestReturn.
func (f follower) follow(ctx context.Context, step func(guest.Shell) error) error {
	return overConnections(ctx, f.conn, step, func() (Conn, error) {
		f.report.Step("the connection to the guest was lost; connecting again")
		conn, err := f.door.Reach(ctx, time.Now().Add(guestReturn))
		if err != nil {
			return nil, fmt.Errorf("the connection to the guest at %s was lost: %w", f.door.Address, err)
		}
		return conn, nil
	})
}

// overConnections calls f with the first shell, and with one of again's each time
// that the last was lost. Of those that it opens one is open at a time.
func overConnections(ctx context.Context, sh guest.Shell, f func(guest.Shell) error, again func() (Conn, error)) error {
	done := func() error { return nil } // closes what was opened here
	defer func() { _ = done() }()
	for {
		err := f(sh)
		if err == nil || ctx.Err() != nil || !Transient(err) {
			return err
		}
		_ = done()
		done = func() error { return nil }
		conn, err := again()
		if err != nil {
			return err
		}
		sh, done = conn, conn.Close
	}
}

// theSwitch writes a switch's output to log until it has ended.
func (f follower) theSwitch(ctx context.Context, id string, log io.Writer) (guest.Status, error) {
	var status guest.Status
	var offset int64
	err := f.follow(ctx, func(sh guest.Shell) (err error) {
		status, offset, err = guest.Follow(ctx, sh, id, offset, log)
		return err
	})
	return status, err
}

// theUndo shows an undo's output until it has ended.
func (f follower) theUndo(ctx context.Context, id string) (guest.UndoStatus, error) {
	log := f.report.Log()
	defer log.Close()
	var status guest.UndoStatus
	var offset int64
	err := f.follow(ctx, func(sh guest.Shell) (err error) {
		for range 3 { // the unit that undoes may have been killed for good
			if status, offset, err = guest.FollowUndo(ctx, sh, id, offset, log); err != nil || !status.Died {
				return err
			}
			if _, _, err = guest.Undo(ctx, sh, id, ""); err != nil {
				return err
			}
		}
		return errors.New("the unit that undoes the switch ends again and again")
	})
	return status, err
}

// failedUnitsHint is what to do about units that have failed in a guest.
const failedUnitsHint = "their logs: `journalctl -u UNIT` in the guest; --accept-failed-units takes it as it is"

// failure says how a switch has failed; nil: it hasn't.
func failure(s guest.Status, target microvm.Address) error {
	switch {
	case s.Lost:
		return fmt.Errorf("the guest at %s was booted while it was being switched", target)
	case s.Died, s.Late:
		return fmt.Errorf("the switch in the guest at %s was ended before it was done", target)
	case s.Code == 4:
		return fmt.Errorf("units failed in the guest at %s (exit status 4 of switch-to-configuration)", target)
	case s.Code != 0:
		return fmt.Errorf("switch-to-configuration in the guest at %s failed with exit status %d", target, s.Code)
	}
	return nil
}

// earlierWait bounds how long the switch of an earlier run is waited for.
const earlierWait = 15 * time.Minute

// earlier is a guest in which the switch of a run goes on that was interrupted,
// or waits to be confirmed.
type earlier struct {
	door   Door
	conn   Conn
	facts  guest.Facts
	report Reporter
	// onlySay mentions it, and waits for nothing.
	onlySay bool
}

// await waits until the switch has ended and the guest has taken it back: until
// then NixOS refuses another one, and nobody knows what the guest runs.
func (e earlier) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, earlierWait)
	defer cancel()
	err := e.awaitBoth(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return hostapi.Refuse(
			fmt.Sprintf("an earlier switch in %s has not ended within %s", e.door.Address, earlierWait),
			"look at the units ferry-* in the guest, or run again to wait longer")
	}
	return err
}

func (e earlier) awaitBoth(ctx context.Context) error {
	f := follower{door: e.door, conn: e.conn, report: e.report}
	if e.facts.Switching != "" {
		e.report.Step("the switch of deployment %s is still under way in %s", e.facts.Switching, e.door.Address)
		if e.onlySay {
			return nil
		}
		log := e.report.Log()
		defer log.Close()
		status, err := f.theSwitch(ctx, e.facts.Switching, log)
		if err != nil {
			return err
		}
		if err := failure(status, e.door.Address); err != nil {
			e.report.Warn("that switch failed: %v", err)
		}
	}
	if e.facts.Armed == "" {
		return nil
	}
	e.report.Step("nobody has confirmed the switch of deployment %s in %s: waiting until the guest has undone it", e.facts.Armed, e.door.Address)
	if e.onlySay {
		return nil
	}
	status, err := f.theUndo(ctx, e.facts.Armed)
	if err == nil && status.Rebooting {
		err = fmt.Errorf("the guest at %s boots, to undo an earlier switch: run again when it is up", e.door.Address)
	}
	if err == nil && !status.Confirmed && !status.Lost {
		e.tellWhy(ctx)
	}
	return err
}

// tellWhy says why the guest has undone the earlier switch, where it knows.
func (e earlier) tellWhy(ctx context.Context) {
	if u, err := guest.Why(ctx, e.conn, e.facts.Armed); err == nil && u.Why != "" {
		e.report.Warn("the guest has undone the switch of deployment %s: %.500s", e.facts.Armed, u.Why)
	}
}

// UndoneByItself says of a switch that the guest has undone it, why, and what the
// switch had said at its end.
func UndoneByItself(target, why, output string) error {
	message := fmt.Sprintf("the guest at %s has undone the switch by itself", target)
	if why != "" {
		message += fmt.Sprintf(": %.500s", why)
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if len(lines) == 1 && lines[0] == "" {
		lines = nil
	}
	return &hostapi.Failure{Kind: hostapi.KindFailed, Message: message, Log: lines[max(0, len(lines)-maxTail):]}
}
