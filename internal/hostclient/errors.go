package hostclient

import (
	"errors"
	"fmt"
	"time"
)

// LostError says that the connection to a host ended before an answer came. What
// was asked for may have been done.
type LostError struct {
	where string
	err   error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the connection to %s was lost: %v", e.where, e.err)
}
func (e *LostError) Unwrap() error { return e.err }

// IsLost reports whether err is a *LostError.
func IsLost(err error) bool {
	var l *LostError
	return errors.As(err, &l)
}

var (
	// ErrSilent is why a connection was lost that nothing has told so.
	ErrSilent = errors.New("ferry's helper there says nothing")

	errEnded  = errors.New("ferry's helper there ended without an answer")
	errClosed = errors.New("the session with ferry's helper there has ended")
	errMixed  = errors.New("an answer does not say what it answers")
)

func (s *Session) silent(within time.Duration) error {
	return fmt.Errorf("%w (waited %s)", ErrSilent, within)
}
