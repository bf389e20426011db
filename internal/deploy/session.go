package deploy

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"ferry/internal/host"
	"ferry/internal/remote"
)

const (
	maxEvent     = 8 << 20          // bytes of one event line
	maxWaiting   = 4                // events read ahead: a host may send without being asked
	maxLogLine   = 8 << 10          // bytes kept of a log line
	closeTimeout = 20 * time.Second // for the helper to end what it was doing
)

// hostSession drives the helper on a host: one request at a time.
type hostSession struct {
	address string
	stdin   io.WriteCloser
	ended   func() error       // waits for the helper's end
	cancel  context.CancelFunc // ends the helper
	events  chan host.Event
	log     func(source, line string)
	closed  bool
	silence time.Duration // after which the host is taken for lost; 0: aliveLimit
	broken  error         // what can't be read; set before events is closed
}

// openSession starts the helper, uploading it where the host lacks it; noTrace
// leaves nothing of it there. The helper outlives ctx: an interrupted run closes
// the session and waits until the host has put things in order.
func openSession(ctx context.Context, c remote.Conn, noTrace bool, log func(source, line string)) (*hostSession, bool, error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	starting := context.AfterFunc(ctx, cancel)
	start := remote.StartHelper
	if noTrace {
		start = func(ctx context.Context, c remote.Conn, args []string) (*remote.Process, bool, error) {
			p, err := remote.StartHelperOnce(ctx, c, args)
			return p, false, err
		}
	}
	proc, uploaded, err := start(own, c, []string{"host", "session"})
	if err != nil || !starting() {
		cancel()
		return nil, uploaded, errors.Join(err, context.Cause(ctx))
	}
	s := &hostSession{address: c.Address().String(), stdin: newLiving(proc.Stdin, aliveEvery), ended: proc.Wait, cancel: cancel, events: make(chan host.Event, maxWaiting), log: log}
	go s.read(proc.Stdout)
	return s, uploaded, nil
}

func (s *hostSession) read(r io.Reader) {
	defer close(s.events)
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxEvent)
	for sc.Scan() {
		var ev host.Event
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
			ev = host.Event{Event: "log", Source: "host", Line: string(sc.Bytes()[:min(len(sc.Bytes()), maxLogLine)])}
		}
		if len(ev.Line) > maxLogLine {
			ev.Line = strings.Clone(ev.Line[:maxLogLine]) // so that the rest can be freed
		}
		if ev.Event == "alive" {
			select {
			case s.events <- ev:
			default: // nobody waits for an answer, nor asks for this
			}
			continue
		}
		s.events <- ev
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		s.broken = fmt.Errorf("%s sent a line of more than %d MiB: that is not ferry's helper", s.address, maxEvent>>20)
	}
}

// lostError says that a connection ended in the middle of a deployment.
type lostError struct {
	where string
	err   error
}

func (e *lostError) Error() string {
	return fmt.Sprintf("the connection to %s was lost: %v", e.where, e.err)
}
func (e *lostError) Unwrap() error { return e.err }

// call sends a request and waits for its answer, which is decoded into result.
func (s *hostSession) call(ctx context.Context, req host.Request, result any) error {
	b, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("asking the host: %w", err)
	}
	if _, err := s.stdin.Write(append(b, '\n')); err != nil {
		return s.lost(err)
	}
	limit := cmp.Or(s.silence, aliveLimit)
	silence := time.NewTimer(limit)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-silence.C:
			return s.lost(errSilent)
		case ev, ok := <-s.events:
			silence.Reset(limit)
			if !ok {
				return s.lost(io.ErrUnexpectedEOF)
			}
			switch ev.Event {
			case "log":
				s.log(ev.Source, ev.Line)
			case "error":
				if ev.Error == nil {
					return errors.New("the host failed and did not say why")
				}
				return ev.Error
			case "result":
				if result == nil {
					return nil
				}
				if err := json.Unmarshal(ev.Result, result); err != nil {
					return fmt.Errorf("reading the host's answer: %w", err)
				}
				return nil
			}
		}
	}
}

func (s *hostSession) lost(err error) error {
	s.closed = true
	if errors.Is(err, io.ErrUnexpectedEOF) && s.broken != nil {
		s.cancel() // it may send for ever
		_ = s.wait()
		return s.broken
	}
	if werr := s.wait(); werr != nil && !errors.Is(err, errSilent) {
		err = werr
	}
	return &lostError{where: s.address, err: err}
}

func (s *hostSession) wait() error {
	defer s.cancel()
	_ = s.stdin.Close()
	done := make(chan error, 1)
	go func() { done <- s.ended() }()
	go func() {
		for range s.events { // so that a full channel doesn't hold the reader
		}
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(closeTimeout):
		return fmt.Errorf("the helper did not end within %s", closeTimeout)
	}
}

// close ends the session. The helper then ends a build that is under way.
func (s *hostSession) close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return s.wait()
}
