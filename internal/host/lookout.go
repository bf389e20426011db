package host

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"ferry/internal/hostapi"
)

const (
	knockLimit  = 5 * time.Second // for one connection, with the first word of sshd
	knockPause  = 2 * time.Second
	maxGreeting = 8 << 10 // bytes before sshd names itself
)

// lookout is how this host finds out whether a guest takes SSH connections. The zero
// value is the real one.
type lookout struct {
	try             func(ctx context.Context, door hostapi.GuestDoor) error
	quietFor, pause time.Duration
}

// quiet is how long a guest must be out of reach before its VM is restarted.
func (l lookout) quiet() time.Duration { return cmp.Or(l.quietFor, rebootQuiet) }

// knock tries once.
func (l lookout) knock(ctx context.Context, door hostapi.GuestDoor) error {
	if l.try != nil {
		return l.try(ctx, door)
	}
	return knock(ctx, door)
}

// reaches tries again and again, for at least window, until the guest answers.
func (l lookout) reaches(ctx context.Context, door hostapi.GuestDoor, window time.Duration) bool {
	until := time.Now().Add(window)
	for {
		if l.knock(ctx, door) == nil {
			return true
		}
		if !time.Now().Before(until) {
			return false
		}
		select {
		case <-time.After(cmp.Or(l.pause, knockPause)):
		case <-ctx.Done():
			return false
		}
	}
}

// Knock says whether a guest takes SSH connections from here: nil, or why not. It
// takes seconds at most.
func Knock(ctx context.Context, door hostapi.GuestDoor) error {
	if err := validDoor(door); err != nil {
		return err
	}
	return knock(ctx, door)
}

// knock connects and waits until sshd names itself (RFC 4253, 4.2). Nothing is sent.
func knock(ctx context.Context, door hostapi.GuestDoor) error {
	ctx, cancel := context.WithTimeout(ctx, knockLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", door.Address())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	greeting := bufio.NewReader(io.LimitReader(conn, maxGreeting))
	for {
		line, err := greeting.ReadString('\n')
		if strings.HasPrefix(line, "SSH-") {
			return nil
		}
		if err != nil {
			return fmt.Errorf("what listens at %s is not sshd: %w", door.Address(), err)
		}
	}
}

// validDoor refuses what is not an address.
func validDoor(d hostapi.GuestDoor) error {
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("%/[]", r) }
	if d.Host == "" || len(d.Host) > 255 || strings.ContainsFunc(d.Host, odd) || d.Port < 1 || d.Port > 65535 {
		return fmt.Errorf("%.80q, port %d, is not where a guest can be", d.Host, d.Port)
	}
	return nil
}
