package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"ferry/internal/guest"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

const (
	// guestReturn bounds how long a guest may be out of reach: after its unit
	// was restarted (a boot), or when its switch cut the connection.
	guestReturn = 3 * time.Minute
	guestPoll   = time.Second
	// guestLogin bounds one try to log in.
	guestLogin = 30 * time.Second
)

// guestSide is the connection to the system inside the VM. A nil *guestSide is
// one that nobody asked.
type guestSide struct {
	conn  remote.Conn
	facts guest.Facts
	// open: a switch began and its outcome is not known.
	open bool
}

func (g *guestSide) current() microvm.StorePath {
	if g == nil {
		return ""
	}
	return g.facts.Current
}

func (g *guestSide) unsure() bool { return g != nil && g.open }

func (g *guestSide) close() {
	if g != nil && g.conn != nil {
		_ = g.conn.Close()
	}
}

// openGuest connects and looks whether this is the right machine, where a
// switch can work. Nothing is changed. probe: see guest.Look.
func (d *deployment) openGuest(ctx context.Context, probe microvm.StorePath) (*guestSide, error) {
	d.result.Target = d.req.Target.String()
	conn, err := d.dialGuest(ctx, false)
	if err != nil {
		return nil, &guestDownError{target: *d.req.Target, name: d.req.Name, err: err}
	}
	g := &guestSide{conn: conn}
	if err := conn.Root(ctx); err != nil {
		g.close()
		return nil, fmt.Errorf("the guest at %s: %w", d.req.Target, err)
	}
	if g.facts, err = guest.Look(ctx, conn, probe); err == nil {
		err = d.checkGuest(g.facts, probe)
	}
	if err == nil && (g.facts.Switching != "" || g.facts.Armed != "") {
		err = d.awaitEarlierSwitch(ctx, g, probe)
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (d *deployment) dialGuest(ctx context.Context, fresh bool) (remote.Conn, error) {
	return d.connect(ctx, remote.Options{
		Address: *d.req.Target, Sudo: d.req.TargetSudo, Dir: d.SocketDir, AskPassword: d.AskPassword, Fresh: fresh,
	})
}

func (d *deployment) checkGuest(f guest.Facts, probe microvm.StorePath) error {
	want := d.record.HostName
	switch {
	case want != "" && f.HostName != want:
		return &RefusedError{
			Message: fmt.Sprintf("the machine at %s calls itself %.80q, but %s is configured as %q", d.req.Target, f.HostName, d.req.Attribute, want),
			Next:    "check the target's address",
		}
	case !f.Root:
		return &RefusedError{
			Message: fmt.Sprintf("the login at %s is not root", d.req.Target),
			Next:    "use root@…, or --target-sudo",
		}
	case !f.Systemd:
		return &RefusedError{
			Message: fmt.Sprintf("the machine at %s has no systemd-run", d.req.Target),
			Next:    "a live switch needs NixOS with systemd inside; otherwise use --restart=always", OnlyLive: true,
		}
	case probe != "" && !f.HasStore:
		return &RefusedError{
			Message: fmt.Sprintf("the machine at %s does not see the host's /nix/store (%s is not there)", d.req.Target, probe),
			Next:    "check that the target is the VM on this host, and that it has booted with the store's share; --restart=always restarts instead", OnlyLive: true,
		}
	}
	return nil
}

// reach connects to the guest anew, again and again until it answers, at most
// until the given time.
func (d *deployment) reach(ctx context.Context, until time.Time) (remote.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	var last error
	for {
		try, done := context.WithTimeout(ctx, guestLogin)
		conn, err := d.dialGuest(try, true)
		slow := try.Err() != nil
		done()
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil && last != nil:
			return nil, last
		case !slow && !transient(err):
			return nil, err
		}
		last = err
		select {
		case <-ctx.Done():
			return nil, last
		case <-time.After(guestPoll):
		}
	}
}

// transient reports whether an error may be gone with the next connection: the
// guest is out of reach, or what ran in the session was killed.
func transient(err error) bool {
	var ce *remote.ConnectError
	if errors.As(err, &ce) {
		return ce.Kind == remote.Unreachable || ce.Kind == remote.Dropped
	}
	var ee *remote.ExitError
	return errors.As(err, &ee) && ee.Code >= 128
}

// retryable makes errors that waiting can't cure final.
func retryable(err error) error {
	if transient(err) {
		return err
	}
	return backoff.Permanent(err)
}

// following calls f, which follows something in the guest, again over new
// connections where the old one is lost (by a new network configuration, say).
// It gives up when the guest is out of reach for guestReturn.
func (d *deployment) following(ctx context.Context, f func(guest.Shell) error) error {
	return overConnections(ctx, d.guest.conn, f, func() (remote.Conn, error) {
		d.step("the connection to the guest was lost; connecting again")
		conn, err := d.reach(ctx, time.Now().Add(guestReturn))
		if err != nil {
			return nil, fmt.Errorf("the connection to the guest at %s was lost: %w", d.req.Target, err)
		}
		return conn, nil
	})
}

// overConnections calls f with the first shell, and with one of again's each time
// that the last was lost. Of those that it opens one is open at a time.
func overConnections(ctx context.Context, sh guest.Shell, f func(guest.Shell) error, again func() (remote.Conn, error)) error {
	done := func() error { return nil } // closes what was opened here
	defer func() { _ = done() }()
	for {
		err := f(sh)
		if err == nil || ctx.Err() != nil || !transient(err) {
			return err
		}
		_ = done()
		done = func() error { return nil }
		conn, err := again()
		if err != nil {
			return err
		}
		sh, done = conn, conn.Close
	}
}

// logTail keeps the end of a log while it is shown.
type logTail struct {
	to    io.WriteCloser
	lines []string
	rest  []byte
}

// maxTail is how many lines of a log an error shows.
const maxTail = 25

func (l *logTail) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for i, b := 0, l.rest; ; i = 0 {
		for i < len(b) && b[i] != '\n' {
			i++
		}
		if i == len(b) {
			l.rest = append(l.rest[:0], b[max(0, len(b)-maxTailLine):]...)
			break
		}
		l.lines = append(l.lines, string(b[:min(i, maxTailLine)]))
		b = b[i+1:]
	}
	l.lines = l.lines[max(0, len(l.lines)-maxTail):]
	return l.to.Write(p)
}

const maxTailLine = 2048 // bytes

func isRefused(err error) bool {
	var r *guest.RefusedError
	return errors.As(err, &r)
}

func orUnknown(p microvm.StorePath) string {
	if p == "" {
		return "a system outside the store"
	}
	return string(p)
}
