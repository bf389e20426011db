package deploy

import (
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
