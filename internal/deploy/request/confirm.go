package request

import (
	"cmp"
	"slices"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/restart"
	"ferry/internal/flake"
	"ferry/internal/health"
	"ferry/internal/hostapi"
)

// Confirm says what shows that a deployment is well, and what becomes of one
// that isn't. The zero value undoes whatever can't be confirmed.
type Confirm struct {
	// NoRollback leaves a failed deployment as it is.
	NoRollback bool
	// AcceptFailedUnits takes a switch whose units failed (exit status 4 of
	// switch-to-configuration) for a good one.
	AcceptFailedUnits bool
	// Timeout is how long all answers may take, counted from the end of the
	// switch, or of the start of the unit; 0: the flake's, else a default.
	Timeout time.Duration
	// ActivationLimit is how long switch-to-configuration may take; 0: as long as
	// it wants, since a database migration must not be killed.
	ActivationLimit time.Duration
	// Checks are made on the host.
	Checks health.Checks
	// Command is a shell command that must succeed in the guest, as root; empty:
	// none.
	Command string
}

// BootTime is how long a guest may take to boot and be well.
func (c Confirm) BootTime() time.Duration { return cmp.Or(c.Timeout, restart.Within) }

// Terms are those of a live switch.
func (c Confirm) Terms() live.Terms {
	return live.Terms{
		Within: cmp.Or(c.Timeout, live.Within), ActivationLimit: c.ActivationLimit,
		NoRollback: c.NoRollback, AcceptFailedUnits: c.AcceptFailedUnits, Command: c.Command,
	}
}

// ForHost is what the host has to see after it has started the unit, or would
// where the operator does not come back. await: the operator looks into the
// guest.
func (c Confirm) ForHost(within time.Duration, await bool) hostapi.Confirmation {
	return hostapi.Confirmation{
		NoRollback: c.NoRollback, Checks: c.Checks, Await: await, Seconds: int(within.Seconds()),
		AcceptFailedUnits: c.AcceptFailedUnits, Withheld: c.commandName(),
	}
}

// commandName is all that others learn of the command: it may contain a secret, and
// only the operator runs it.
func (c Confirm) commandName() []string {
	if c.Command == "" {
		return nil
	}
	return []string{health.Command}
}

// Or fills in what the command line left open from what the flake says (nil:
// nothing): a check of the command line replaces all of its kind.
func (c Confirm) Or(h *flake.Health) Confirm {
	if h == nil {
		return c
	}
	c.Checks = c.Checks.Or(h.Checks)
	c.Command = cmp.Or(c.Command, h.Command)
	c.Timeout = cmp.Or(c.Timeout, h.Timeout)
	return c
}

// Regain takes from other what is withheld, and returns what is still missing.
func (c Confirm) Regain(other Confirm, withheld []string) (_ Confirm, left []string) {
	found := other.Checks.Named(withheld)
	c.Checks = c.Checks.And(found)
	have := found.Names()
	if c.Command = cmp.Or(c.Command, other.Command); c.Command != "" {
		have = append(have, health.Command)
	}
	for _, name := range withheld {
		if !slices.Contains(have, name) {
			left = append(left, name)
		}
	}
	return c, left
}
