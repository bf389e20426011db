package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/transfer"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

const (
	// hostReturn bounds how long a host may be out of reach in the middle of a
	// deployment before the user is told how things are instead.
	hostReturn = 3 * time.Minute
	hostPoll   = time.Second
)

// hostSide is the host of a deployment: a login and a session with the helper
// there, both made again where they are lost.
type hostSide struct {
	*Deployer
	say        *voice
	address    microvm.Address
	sudo       bool
	noTrace    bool
	sharedConn remote.Conn // a login that others use too, for the first session; nil: none

	conn    remote.Conn
	session Session
	alive   bool // the session can be asked
}

// open logs in and starts the helper.
func (h *hostSide) open(ctx context.Context) error {
	if h.conn = h.sharedConn; h.conn == nil || h.session != nil {
		h.sharedConn = nil
		conn, err := h.dial(ctx, remote.Options{Address: h.address, Sudo: h.sudo})
		if err != nil {
			h.conn = nil
			return err
		}
		h.conn = conn
	}
	s, uploaded, err := h.Deployer.open(ctx, h.conn, opening{noTrace: h.noTrace, log: h.log})
	if err != nil {
		return err
	}
	h.session, h.alive = s, true
	if uploaded {
		h.say.Step("uploaded ferry's helper to %s", h.address)
	}
	return nil
}

func (h *hostSide) log(source, line string) {
	if source == "nix" {
		fmt.Fprintln(h.say.Log(), line)
		return
	}
	h.say.Step("%s", line)
}

// Call asks the helper.
func (h *hostSide) Call(ctx context.Context, req hostapi.Request, result any) error {
	err := h.session.Call(ctx, req, result)
	if isLost(err) {
		h.alive = false
	}
	return err
}

// close ends the session and the login, but for one that others use.
func (h *hostSide) close() {
	if h.session != nil {
		h.alive = false
		if err := h.session.Close(); err != nil {
			h.say.Detail("ending the session on the host: %v", err)
		}
	}
	if h.conn != nil && h.conn != h.sharedConn {
		_ = h.conn.Close()
	}
}

// resume connects to a host again whose connection was lost, and takes the
// deployment over or learns how it has ended. It waits for what is under way
// there.
func (h *hostSide) resume(ctx context.Context, vm microvm.Name, id string, lost error) (*hostapi.Resumed, error) {
	h.say.Step("%v; connecting again", lost)
	r, err := backoff.Retry(ctx, func() (*hostapi.Resumed, error) {
		h.close()
		if err := h.open(ctx); err != nil {
			if isLost(err) || live.Transient(err) {
				return nil, err
			}
			return nil, backoff.Permanent(err) // waiting can't cure it
		}
		var r hostapi.Resumed
		err := h.Call(ctx, hostapi.Request{Resume: &hostapi.ResumeRequest{Name: vm, ID: id, TakeOver: true}}, &r)
		switch {
		case isLost(err):
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

// probe asks for facts, and makes sure that the two sides understand each other.
func (h *hostSide) probe(ctx context.Context, req hostapi.ProbeRequest) (hostapi.Facts, error) {
	var facts hostapi.Facts
	if err := h.Call(ctx, hostapi.Request{Probe: &req}, &facts); err != nil {
		return facts, err
	}
	return facts, sameProtocol(h.address.String(), facts.Protocol)
}

// sameProtocol refuses a helper that may misunderstand us.
func sameProtocol(where string, theirs int) error {
	older, newer := "the ferry on "+where, "this one"
	switch {
	case theirs == hostapi.ProtocolVersion:
		return nil
	case theirs > hostapi.ProtocolVersion:
		older, newer = newer, older
	}
	return &RefusedError{
		Message: fmt.Sprintf("%s is older than %s, and the two may misunderstand each other (protocol %d on the host, %d here)", older, newer, theirs, hostapi.ProtocolVersion),
		Next:    "use the same release of ferry on both sides: update " + older,
	}
}

// registration has the host dump what a system's closure is registered with.
func (h *hostSide) registration(ctx context.Context, system microvm.StorePath) (io.Reader, error) {
	own, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p, err := h.helper(own, h.conn, "host", "registration", string(system))
	if err != nil {
		return nil, err
	}
	_ = p.Stdin.Close()
	reg, err := readRegistration(p.Stdout, aliveLimit, stop)
	if werr := p.Wait(); werr != nil {
		return nil, fmt.Errorf("reading the registration of %s: %w", system, werr)
	}
	return reg, err
}

// Import, Pair, NixCopy and SudoPassword are for transfer.

// Import starts the helper that takes in what Nix has exported.
func (h *hostSide) Import(ctx context.Context) (*transfer.Process, error) {
	return h.helper(ctx, h.conn, "host", "import")
}

// Pair is the environment for a copy from a builder to the host.
func (h *hostSide) Pair(builder remote.Conn) (env []string, remove func(), err error) {
	return remote.Pair(builder, h.conn)
}

// NixCopy is the host as Nix addresses it.
func (h *hostSide) NixCopy() remote.NixTarget { return h.conn.NixCopy() }

// SudoPassword says that what Nix starts there can't be root.
func (h *hostSide) SudoPassword() bool { return h.conn.SudoPassword() }

// way is the way of a closure to the host.
func (h *hostSide) way() transfer.Way {
	return transfer.Way{To: h.address, Host: h, Report: h.say, Nix: func(log io.Writer) transfer.Nix {
		n := *h.Nix
		if log != nil {
			n.Log = log
		}
		return &n
	}}
}

var errNoSystem = errors.New("the configuration has no config.system.build.toplevel to switch to")
