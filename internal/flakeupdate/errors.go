package flakeupdate

import "fmt"

// UsageError is a request that can't be meant.
type UsageError struct{ why, hint string }

func (e *UsageError) Error() string { return e.why }

// Hint is what to do next.
func (e *UsageError) Hint() string { return e.hint }

// stateError is a repository in which the update can't be done.
type stateError struct{ why, hint string }

func (e *stateError) Error() string { return e.why }

// Hint is what to do next.
func (e *stateError) Hint() string { return e.hint }

// BusyError says that another update of the same repository is under way.
type BusyError struct{ repository string }

func (e *BusyError) Error() string {
	return "another flake-update of " + e.repository + " is under way"
}

// Hint is what to do next.
func (e *BusyError) Hint() string { return "try again when it has ended" }

// DivergedError says that two lines of history have no order. Nothing was moved.
type DivergedError struct {
	one, other string // what they are
	hint       string
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("%s and %s have diverged: each has commits that the other does not have", e.one, e.other)
}

// Hint is what to do next.
func (e *DivergedError) Hint() string { return e.hint }

// RejectedError is a push that the remote did not take. Nothing was moved.
type RejectedError struct {
	remote, branch string
	said           string
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("%s rejected the push to %s; nothing was changed there or here\n%s", e.remote, e.branch, e.said)
}

// Hint is what to do next.
func (e *RejectedError) Hint() string {
	return "if somebody has pushed meanwhile, run it again: it begins with what is there then"
}
