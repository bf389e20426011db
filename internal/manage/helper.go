package manage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"ferry/internal/host"
	"ferry/internal/remote"
)

const (
	maxAnswer  = 8 << 20          // bytes of one line of a helper
	endTimeout = 20 * time.Second // for the helper to put things in order
)

// Host is a connection to a host.
type Host struct {
	Place
	// NoTrace leaves nothing of the helper on a host that lacks it: for runs
	// that must change nothing.
	NoTrace bool

	conn   remote.Conn
	report Reporter
}

// Conn is the connection itself, for commands other than the helper's.
func (h *Host) Conn() remote.Conn { return h.conn }

// Close ends the connection.
func (h *Host) Close() { _ = h.conn.Close() }

// Run runs one command of the helper, as in Run(ctx, "web", &state, "start",
// "web") for `ferry host start web`, and decodes its answer into result (nil:
// none is wanted). What the helper reports goes to the Reporter under subject,
// or the host's own name where that is empty. The error is a *host.Failure
// where the helper gave a reason. When ctx ends, the helper is told and awaited.
func (h *Host) Run(ctx context.Context, subject string, result any, args ...string) error {
	answered := false
	err := h.Stream(ctx, subject, func(answer json.RawMessage) error {
		answered = true
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(answer, result); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", h, err)
		}
		return nil
	}, args...)
	if err == nil && result != nil && !answered {
		return fmt.Errorf("%s: ferry's helper gave no answer", h)
	}
	return err
}

// Stream is Run for a command that gives any number of answers. An error of each
// ends the helper and is returned.
func (h *Host) Stream(ctx context.Context, subject string, each func(answer json.RawMessage) error, args ...string) error {
	if subject == "" {
		subject = h.String()
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	p, err := h.start(ctx, own, cancel, append([]string{"host", "--attached"}, args...))
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	stop := context.AfterFunc(ctx, func() { // its end of input tells the helper
		_ = p.Stdin.Close()
		select {
		case <-ended:
		case <-time.After(endTimeout):
			cancel()
		}
	})
	defer stop()
	failure, err := h.read(p.Stdout, subject, each)
	_ = p.Stdin.Close()
	if err != nil {
		cancel()
	}
	werr := p.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w", ctx.Err())
	case err != nil:
		return err
	case failure != nil:
		return failure
	}
	return werr
}

// start starts the helper, which outlives ctx from then on.
func (h *Host) start(ctx, own context.Context, cancel func(), args []string) (*remote.Process, error) {
	starting := context.AfterFunc(ctx, cancel)
	var p *remote.Process
	var uploaded bool
	var err error
	if h.NoTrace {
		p, err = remote.StartHelperOnce(own, h.conn, args)
	} else {
		p, uploaded, err = remote.StartHelper(own, h.conn, args)
	}
	if err != nil || !starting() {
		cancel()
		return nil, errors.Join(err, context.Cause(ctx))
	}
	if uploaded {
		h.report.Step(h.String(), "uploaded ferry's helper")
	}
	return p, nil
}

// read hands on the helper's answers until its output ends. The failure is the
// reason that the helper gave.
func (h *Host) read(r io.Reader, subject string, each func(json.RawMessage) error) (failure, err error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxAnswer)
	for sc.Scan() {
		var ev host.Event
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
			h.report.Detail(subject, "%s", sc.Text()) // a login banner, say
			continue
		}
		switch ev.Event {
		case "log":
			h.report.Step(subject, "%s", ev.Line)
		case "result":
			if err := each(ev.Result); err != nil {
				return nil, err
			}
		case "error":
			failure = errors.New("the host failed and did not say why")
			if ev.Error != nil {
				failure = ev.Error
			}
		}
	}
	if err := sc.Err(); err != nil {
		return failure, fmt.Errorf("reading what %s says: %w", h, err)
	}
	return failure, nil
}
