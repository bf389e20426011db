package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

const (
	// redialWithin bounds how long a lost connection is made again for: systemd
	// is away while it executes itself again, or is updated.
	redialWithin = 30 * time.Second
	redialEvery  = 100 * time.Millisecond
)

// bus is a connection to systemd that is made again where it is lost, as
// `systemctl daemon-reexec` does to all that are not through a D-Bus daemon.
type bus struct {
	dial func() (*dbus.Conn, error)
	mu   sync.Mutex
	conn *dbus.Conn
}

func dialed(dial func() (*dbus.Conn, error)) (*bus, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	return &bus{dial: dial, conn: conn}, nil
}

func (b *bus) current() *dbus.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn
}

func (b *bus) close() { b.current().Close() }

// call asks systemd for something that can be asked for twice: once more over a
// new connection where the first one was lost.
func (b *bus) call(ctx context.Context, ask func(*dbus.Conn) error) error {
	conn := b.current()
	err := ask(conn)
	if !lost(conn, err) {
		return err
	}
	conn, err = b.again(ctx, conn)
	if err != nil {
		return err
	}
	return ask(conn)
}

// again replaces a connection that is lost, if nobody has yet.
func (b *bus) again(ctx context.Context, gone *dbus.Conn) (*dbus.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != gone {
		return b.conn, nil
	}
	gone.Close()
	ctx, cancel := context.WithTimeout(ctx, redialWithin)
	defer cancel()
	tick := time.NewTicker(redialEvery)
	defer tick.Stop()
	for {
		conn, err := b.dial()
		if err == nil {
			b.conn = conn
			return conn, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("the connection to systemd was lost and cannot be made again: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// lost reports whether a call failed with the connection, and not by an answer.
func lost(conn *dbus.Conn, err error) bool {
	var answer godbus.Error
	switch {
	case err == nil, errors.As(err, &answer), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	}
	return !conn.Connected() || errors.Is(err, godbus.ErrClosed) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
