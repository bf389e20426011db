package live

import (
	"errors"
	"testing"

	"ferry/internal/guest"
	"ferry/internal/remote"
)

// countedConn is a connection that knows how many of its kind are open.
type countedConn struct {
	remote.Conn
	open *int
}

func (c countedConn) Close() error {
	*c.open--
	return nil
}

// Following over many reconnects keeps one connection open, and in the end none.
func TestFollowingClosesLostConnections(t *testing.T) {
	for name, last := range map[string]error{"to its end": nil, "to a failure": errors.New("it failed")} {
		open, most, calls := 0, 0, 0
		err := overConnections(t.Context(), nil, func(guest.Shell) error {
			most = max(most, open)
			if calls++; calls < 5 {
				return &remote.ConnectError{Kind: remote.Dropped}
			}
			return last
		}, func() (Conn, error) {
			open++
			return countedConn{open: &open}, nil
		})
		if !errors.Is(err, last) || most != 1 || open != 0 {
			t.Errorf("%s: %v, %d open at once, %d left", name, err, most, open)
		}
	}
	gone := errors.New("out of reach")
	err := overConnections(t.Context(), nil,
		func(guest.Shell) error { return &remote.ConnectError{Kind: remote.Unreachable} },
		func() (Conn, error) { return nil, gone })
	if !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
