package live

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

const (
	// Poll is the time between two questions to a guest that isn't ready yet.
	Poll = time.Second
	// guestReturn bounds how long a guest may be out of reach when its switch has
	// cut the connection.
	guestReturn = 3 * time.Minute
	// guestLogin bounds one try to log in.
	guestLogin = 30 * time.Second
)

// Conn is a login to a guest.
type Conn interface {
	guest.Shell
	// Root finds out whether commands can run as root.
	Root(ctx context.Context) error
	Close() error
}

// Door is the way into one guest.
type Door struct {
	Address microvm.Address
	// Dial logs in. fresh makes a connection of its own: it shows that the guest
	// still lets one log in.
	Dial func(ctx context.Context, fresh bool) (Conn, error)
}

// Reach logs in again and again until the guest answers, at most until the given
// time.
func (d Door) Reach(ctx context.Context, until time.Time) (Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	var last error
	for {
		try, done := context.WithTimeout(ctx, guestLogin)
		conn, err := d.Dial(try, true)
		slow := try.Err() != nil
		done()
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil && last != nil:
			return nil, last
		case !slow && !Transient(err):
			return nil, err
		}
		last = err
		select {
		case <-ctx.Done():
			return nil, last
		case <-time.After(Poll):
		}
	}
}

// Ask asks over a connection of its own: that one can log in is a part of what is
// to be confirmed.
func (d Door) Ask(ctx context.Context, until time.Time, ask func(guest.Shell) (guest.ConfirmAnswer, error)) (guest.ConfirmAnswer, error) {
	conn, err := d.Reach(ctx, until)
	if err != nil {
		return guest.ConfirmAnswer{}, fmt.Errorf("logging in to %s: %w", d.Address, err)
	}
	defer conn.Close()
	return ask(conn)
}

// look asks over a connection of its own what the guest runs.
func (d Door) look(ctx context.Context) (guest.Facts, error) {
	conn, err := d.Reach(ctx, time.Now().Add(guestReturn))
	if err != nil {
		return guest.Facts{}, err
	}
	defer conn.Close()
	return guest.Look(ctx, conn, "")
}

// Refusal says why the guest, which should run the system, was not confirmed.
func (d Door) Refusal(a guest.ConfirmAnswer, system microvm.StorePath) error {
	switch a.Refused {
	case guest.RefusedLost:
		return fmt.Errorf("the guest at %s was booted while it was being switched", d.Address)
	case guest.RefusedSwitching:
		return fmt.Errorf("the switch in the guest at %s has not ended", d.Address)
	case guest.RefusedSystem:
		return fmt.Errorf("the guest at %s runs %s instead of %s", d.Address, OrUnknown(a.Current), system)
	case guest.RefusedUnits:
		return &hostapi.Failure{
			Kind:    hostapi.KindFailed,
			Message: fmt.Sprintf("units have failed in the guest at %s: %.500s", d.Address, strings.Join(a.FailedUnits, ", ")),
			Hint:    failedUnitsHint, See: trouble.UnitsFailed,
		}
	case guest.RefusedCommand:
		lines := strings.Split(a.Output, "\n")
		return &hostapi.Failure{
			Kind:    hostapi.KindHealth,
			Message: fmt.Sprintf("the check command failed in the guest at %s with exit status %d", d.Address, a.Code),
			Log:     lines[max(0, len(lines)-maxTail):],
			Hint:    "it ran in the guest, as root; run it there by hand", See: trouble.ChecksFailed,
		}
	}
	return fmt.Errorf("the guest at %s has undone the switch by itself", d.Address)
}

// Transient reports whether an error may be gone with the next connection: the
// guest is out of reach, or what ran in the session was killed.
func Transient(err error) bool {
	var ce *remote.ConnectError
	if errors.As(err, &ce) {
		return ce.Kind == remote.Unreachable || ce.Kind == remote.Dropped
	}
	var ee *remote.ExitError
	return errors.As(err, &ee) && ee.Code >= 128
}

// OrUnknown names what a guest runs.
func OrUnknown(p microvm.StorePath) string {
	if p == "" {
		return "a system outside the store"
	}
	return string(p)
}
