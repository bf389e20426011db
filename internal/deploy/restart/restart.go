// Package restart is the operator's look into a guest around a restart of its
// unit: which units have failed before, and whether the new system, once it has
// booted, is well. It must not know how the unit is restarted, or what becomes of
// one that isn't well: that is the host's.
package restart

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/microvm"
)

const (
	// Within is how long a guest may take to boot and be well where nobody named
	// another time.
	Within = 3 * time.Minute
	// asked bounds a question to a guest whose answer is not needed.
	asked = 15 * time.Second
)

// Units are those that had failed in the guest before it was restarted, where
// somebody could tell: they are not held against the new system.
type Units struct {
	Failed []string
	Known  bool
}

// New is for a VM that has never run: nothing in it can have failed before.
func New() Units { return Units{Known: true} }

// UnitsOf asks a guest for them.
func UnitsOf(ctx context.Context, d live.Door) Units {
	ctx, cancel := context.WithTimeout(ctx, asked)
	defer cancel()
	for range 2 { // a login from before may be gone
		conn, err := d.Dial(ctx, false)
		if err != nil {
			return Units{}
		}
		facts, err := guest.Look(ctx, conn, "")
		_ = conn.Close()
		if err == nil {
			return Units{Failed: facts.FailedUnits, Known: true}
		}
		if !live.Transient(err) {
			break
		}
	}
	return Units{}
}

// Booting is a guest that shall come up with a system.
type Booting struct {
	Door              live.Door
	System            microvm.StorePath
	Before            Units
	Within            time.Duration
	AcceptFailedUnits bool
	Command           string // must succeed in the guest; empty: none
}

// Await logs in until the guest confirms itself, or doesn't for good.
func (b Booting) Await(ctx context.Context) (bootID string, err error) {
	until := time.Now().Add(b.Within)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	req := guest.ConfirmRequest{
		System: b.System, FailedBefore: b.Before.Failed, Command: b.Command,
		AcceptFailedUnits: b.AcceptFailedUnits || !b.Before.Known,
	}
	last := fmt.Errorf("it did not answer within %s", b.Within)
	for {
		a, err := b.Door.Ask(ctx, until, func(sh guest.Shell) (guest.ConfirmAnswer, error) { return guest.CheckBooted(ctx, sh, req) })
		switch {
		case err == nil && a.Confirmed:
			return a.BootID, nil
		case err == nil:
			last = b.Door.Refusal(a, b.System)
		case ctx.Err() == nil:
			last = err
		}
		// The machine that goes down may answer for a moment still.
		again := live.Transient(err) || a.Refused == guest.RefusedSystem || a.Refused == guest.RefusedCommand
		if ctx.Err() == nil && !again {
			return "", fmt.Errorf("after the restart: %w", last)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("after the restart: %w", last)
		case <-time.After(live.Poll):
		}
	}
}
