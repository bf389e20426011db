package deploy

import (
	"fmt"

	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// Error is a deployment that failed, with how it left things.
type Error struct {
	VM    microvm.Name
	State string
	Err   error
	// RolledBack: what had been changed was undone.
	RolledBack bool
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.VM, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Section is the section of docs/troubleshooting.md about it: of what went wrong,
// else of what undoing means.
func (e *Error) Section() trouble.Section {
	s := trouble.Of(e.Err)
	if e.RolledBack && s == "" || e.lockedOut() {
		return trouble.NotConfirmed
	}
	return s
}

// Hint is what to do next.
func (e *Error) Hint() string {
	if e.lockedOut() {
		return "nobody could log in after the change, so it was undone: see what it does to the network, sshd and the firewall inside; --confirm-timeout gives a slow guest more time"
	}
	return trouble.Hint(e.Err)
}

// lockedOut: after the switch or the restart nobody could log in, which is why it
// was undone.
func (e *Error) lockedOut() bool {
	switch trouble.Of(e.Err) {
	case trouble.Unreachable, trouble.LoginRefused, trouble.UnknownHostKey, trouble.ChangedHostKey:
		return e.RolledBack
	}
	return false
}
