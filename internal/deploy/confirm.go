package deploy

import (
	"time"

	"ferry/internal/health"
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

const (
	// confirmLive is the Timeout of a live switch where nobody named one, and
	// confirmRestart that of a restart, which takes a boot.
	confirmLive    = time.Minute
	confirmRestart = 3 * time.Minute
)

// within is the time that the answers may take, given the default.
func (c Confirm) within(otherwise time.Duration) time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return otherwise
}
