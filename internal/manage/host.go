package manage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ferry/internal/helperbin"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/remote"
)

const (
	// maxKept and maxKeptBytes bound answers in parts that are kept: no host has
	// that many VMs.
	maxKept      = 10_000
	maxKeptBytes = 32 << 20
)

// Host is a connection to a host.
type Host struct {
	Place
	// NoTrace leaves nothing of the helper on a host that lacks it: for runs
	// that must change nothing.
	NoTrace bool
	// Program chooses what is run there instead of the helper; nil: that.
	Program helperbin.Find

	conn   remote.Conn
	report Reporter
	// open is hostclient.Open, but in tests.
	open func(context.Context, remote.Conn, hostclient.Options) (*hostclient.Session, bool, error)
}

// Conn is the connection itself, for commands other than the helper's.
func (h *Host) Conn() remote.Conn { return h.conn }

// Close ends the connection.
func (h *Host) Close() { _ = h.conn.Close() }

// ask has the host's helper do one thing, and decodes its answer. What the helper
// reports goes to the Reporter under subject, or the host's own name where that is
// empty. The error is a *hostapi.Failure where the helper gave a reason. When ctx
// ends, the helper is told and awaited.
func (h *Host) ask(ctx context.Context, subject string, c hostapi.Commands, answer any) error {
	return h.stream(ctx, subject, c, hostclient.Items{}, answer)
}

// stream is ask for what is answered in parts.
func (h *Host) stream(ctx context.Context, subject string, c hostapi.Commands, items hostclient.Items, answer any) error {
	subject = cmp.Or(subject, h.String())
	s, uploaded, err := h.open(ctx, h.conn, hostclient.Options{NoTrace: h.NoTrace, Program: h.Program, Name: h.String(), Log: h.logged(subject)})
	if err != nil {
		if ctx.Err() != nil {
			err = remote.Interrupted(ctx, "")
		}
		return err
	}
	if uploaded {
		h.report.Step(h.String(), "uploaded ferry's helper")
	}
	err = s.Stream(ctx, hostapi.Request{Commands: c}, items, answer)
	if cerr := s.Close(); cerr != nil {
		h.report.Detail(subject, "ending the session on the host: %v", cerr)
	}
	switch {
	case ctx.Err() != nil:
		return remote.Interrupted(ctx, "")
	case errors.Is(err, hostclient.ErrSilent):
		return &silentError{err}
	}
	return err
}

func (h *Host) logged(subject string) hostclient.Log {
	return func(source, line string) {
		if source == "host" {
			h.report.Step(subject, "%s", line)
			return
		}
		h.report.Detail(subject, "%s", line) // Nix's words, or a login banner
	}
}

// kept is how parts of an answer are taken that are kept, each decoded.
func kept[T any](h *Host, most int, each func(T) error) hostclient.Items {
	return hostclient.Items{Most: most, Bytes: maxKeptBytes, Each: func(item json.RawMessage) error {
		var v T
		if err := json.Unmarshal(item, &v); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", h, err)
		}
		return each(v)
	}}
}

// silentError is a helper that shows no sign of life.
type silentError struct{ error }

func (e *silentError) Unwrap() error { return e.error }

// Hint is what the operator can do next.
func (e *silentError) Hint() string {
	return "log in to the host and look what keeps it; what was begun there may still go on, which `ferry list` and `ferry history` show"
}
