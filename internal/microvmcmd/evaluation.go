package microvmcmd

import (
	"errors"

	"ferry/internal/flake"
)

// evaluationError is a flake that could not be evaluated, with what to do about
// it in terms of this command's options, which are not those of ferry.
type evaluationError struct {
	err  error
	next string
}

func (e *evaluationError) Error() string { return e.err.Error() }
func (e *evaluationError) Unwrap() error { return e.err }

// Hint is what to do next.
func (e *evaluationError) Hint() string { return e.next }

// adviceFor replaces what internal/flake advises where that names ferry's
// options. The flake was named by `-f` (create), or by the VM's `flake` file.
func adviceFor(create bool, err error) error {
	var unknown *flake.UnknownVMError
	var failed *flake.EvalError
	var next string
	switch {
	case errors.As(err, &unknown) && create:
		next = "name one of them, or another flake with -f"
	case errors.As(err, &failed) && failed.NoFlake() && create:
		next = "name the flake: microvm -c NAME -f FLAKE"
	case errors.As(err, &unknown), errors.As(err, &failed) && failed.NoFlake():
		next = "correct the reference in the VM's `flake` file"
	case failed != nil:
		next = "correct it there"
	default:
		return err
	}
	return &evaluationError{err: err, next: next}
}
