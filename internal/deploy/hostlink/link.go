package hostlink

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/transfer"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

const (
	// hostReturn bounds how long a host may be out of reach in the middle of a
	// deployment before the user is told how things are instead.
	hostReturn = 3 * time.Minute
	hostPoll   = time.Second
)

// Session is a conversation with the helper on a host: one request at a time.
type Session interface {
	Call(ctx context.Context, req hostapi.Request, answer any) error
	Registration(ctx context.Context, system microvm.StorePath) (io.Reader, error)
	Closed() bool
	Close() error
}

// Opener starts the helper, uploading it where the host lacks it.
type Opener func(ctx context.Context, c remote.Conn, o hostclient.Options) (_ Session, uploaded bool, _ error)

// Reporter is told how it goes.
type Reporter interface {
	Step(format string, args ...any)
	Detail(format string, args ...any)
	Warn(format string, args ...any)
	Log() io.WriteCloser
}

// Link is the host of one deployment.
type Link struct {
	Address microvm.Address
	NoTrace bool // leave nothing of the helper there
	Report  Reporter
	// VM and ID are the deployment that is taken over after a connection was lost.
	VM microvm.Name
	ID string

	Dial func(ctx context.Context) (remote.Conn, error)
	// Open and StartImport are for tests; nil: those of hostclient.
	Open        Opener
	StartImport func(ctx context.Context, c remote.Conn) (*transfer.Process, error)
	// Shared is a login that others use too, for the first session; nil: none.
	Shared remote.Conn

	conn    remote.Conn
	session Session
	streams bool // Nix can't start its daemon there
}

// Connect logs in and starts the helper.
func (l *Link) Connect(ctx context.Context) error {
	if l.conn = l.Shared; l.conn == nil || l.session != nil {
		l.Shared = nil
		conn, err := l.Dial(ctx)
		if err != nil {
			l.conn = nil
			return err
		}
		l.conn = conn
	}
	open := l.Open
	if open == nil {
		open = openHelper
	}
	s, uploaded, err := open(ctx, l.conn, hostclient.Options{NoTrace: l.NoTrace, Log: l.log})
	if err != nil {
		return err
	}
	l.session = s
	if uploaded {
		l.Report.Step("uploaded ferry's helper to %s", l.Address)
	}
	return nil
}

func (l *Link) log(source, line string) {
	if source == "nix" {
		fmt.Fprintln(l.Report.Log(), line)
		return
	}
	l.Report.Step("%s", line)
}

// openHelper starts a session with the helper on a host.
func openHelper(ctx context.Context, c remote.Conn, o hostclient.Options) (Session, bool, error) {
	s, uploaded, err := hostclient.Open(ctx, c, o)
	if err != nil {
		return nil, uploaded, err
	}
	return s, uploaded, nil
}

// startImport starts the helper that takes in what Nix has exported.
func startImport(ctx context.Context, c remote.Conn) (*transfer.Process, error) {
	p, err := hostclient.Import(ctx, c)
	if err != nil {
		return nil, err
	}
	return &transfer.Process{Stdin: p.Stdin, Stdout: p.Stdout, Wait: p.Wait}, nil
}

// Known reports whether there is a host at all.
func (l *Link) Known() bool { return l.session != nil }

// Alive reports whether the session can be asked.
func (l *Link) Alive() bool { return l.session != nil && !l.session.Closed() }

// Call asks the helper.
func (l *Link) Call(ctx context.Context, req hostapi.Request, answer any) error {
	return l.session.Call(ctx, req, answer)
}

// Close ends the session and the login, but for one that others use.
func (l *Link) Close() {
	if l.session != nil {
		if err := l.session.Close(); err != nil {
			l.Report.Detail("ending the session on the host: %v", err)
		}
	}
	if l.conn != nil && l.conn != l.Shared {
		_ = l.conn.Close()
	}
}

// Resume connects to a host again whose connection was lost, and takes the
// deployment over or learns how it has ended. It waits for what is under way
// there.
func (l *Link) Resume(ctx context.Context, lost error) (*hostapi.Resumed, error) {
	l.Report.Step("%v; connecting again", lost)
	r, err := backoff.Retry(ctx, func() (*hostapi.Resumed, error) {
		l.Close()
		if err := l.Connect(ctx); err != nil {
			if hostclient.IsLost(err) || live.Transient(err) {
				return nil, err
			}
			return nil, backoff.Permanent(err) // waiting can't cure it
		}
		var r hostapi.Resumed
		err := l.Call(ctx, hostapi.Request{Resume: &hostapi.ResumeRequest{Name: l.VM, ID: l.ID, TakeOver: true}}, &r)
		switch {
		case hostclient.IsLost(err):
			return nil, err
		case err != nil:
			return nil, backoff.Permanent(err)
		}
		return &r, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(hostPoll)), backoff.WithMaxElapsedTime(hostReturn))
	if err != nil {
		return nil, fmt.Errorf("%w; connecting again: %w", lost, err)
	}
	return r, nil
}

// Registration has the host dump what a system's closure is registered with.
func (l *Link) Registration(ctx context.Context, system microvm.StorePath) (io.Reader, error) {
	return l.session.Registration(ctx, system)
}

// Import, Pair, NixCopy and Streams are for transfer.

// Import starts the helper that takes in what Nix has exported.
func (l *Link) Import(ctx context.Context) (*transfer.Process, error) {
	if l.StartImport != nil {
		return l.StartImport(ctx, l.conn)
	}
	return startImport(ctx, l.conn)
}

// Pair is the environment for a copy from a builder to the host.
func (l *Link) Pair(builder remote.Conn) (env []string, remove func(), err error) {
	return remote.Pair(builder, l.conn)
}

// NixCopy is the host as Nix addresses it.
func (l *Link) NixCopy() remote.NixTarget { return l.conn.NixCopy() }

// Streams says that Nix can't start its daemon there as root: sudo wants a
// password, or the daemon isn't where a command over SSH finds it.
func (l *Link) Streams() bool { return l.streams || l.conn.SudoPassword() }
