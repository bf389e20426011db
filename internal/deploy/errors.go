package deploy

import (
	"errors"
	"fmt"

	"ferry/internal/microvm"
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

// UsageError is a command that lacks something only the user can say.
type UsageError struct{ Message, Next string }

func (e *UsageError) Error() string { return e.Message }

// Hint is what to do next.
func (e *UsageError) Hint() string { return e.Next }

// RefusedError is a deployment that would do harm, found before anything was
// changed.
type RefusedError struct {
	Message, Next string
	// OnlyLive: only a live switch is impossible.
	OnlyLive bool
}

func (e *RefusedError) Error() string { return e.Message }

// Hint is what to do next.
func (e *RefusedError) Hint() string { return e.Next }

// guestDownError is a guest that can't be reached for a live switch.
type guestDownError struct {
	target microvm.Address
	name   microvm.Name
	err    error
}

func (e *guestDownError) Error() string {
	return fmt.Sprintf("the guest at %s can't be reached: %v", e.target, e.err)
}
func (e *guestDownError) Unwrap() error { return e.err }

// Hint is what to do next.
func (e *guestDownError) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.err, &h) && h.Hint() != "" {
		return h.Hint() + "; --restart=always restarts the VM instead of switching it live"
	}
	return "check the VM (journalctl -u " + e.name.Unit() + " on the host); --restart=always restarts it instead of switching it live"
}
