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

	"ferry/internal/helperbin"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

const (
	maxEvent     = 8 << 20          // bytes of one event line
	maxWaiting   = 4                // events read ahead: a host may send without being asked
	maxLogLine   = 8 << 10          // bytes kept of a log line
	maxChatter   = 16 << 20         // bytes of events before an answer that takes no build
	eventSize    = 64               // bytes that each counts for, without its line
	closeTimeout = 20 * time.Second // for the helper to end what it was doing
)

// hostSession drives the helper on a host: one request at a time.
type hostSession struct {
	address string
	stdin   io.WriteCloser
	ended   func() error       // waits for the helper's end
	cancel  context.CancelFunc // ends the helper
	events  chan hostapi.Event
	log     func(source, line string)
	closed  bool
	heard   bool // the helper has shown that it speaks the protocol
	limits  sessionLimits
	broken  error // what can't be read; set before events is closed
}

// sessionLimits are after how much silence a host is taken for lost, and how many
// bytes it may log where nothing is built. 0: as said.
type sessionLimits struct {
	greeting time.Duration // before the first sign of life: greetLimit
	silence  time.Duration // aliveLimit
	chatter  int           // maxChatter
}

func (s *hostSession) patience() time.Duration {
	if !s.heard {
		return cmp.Or(s.limits.greeting, greetLimit)
	}
	return cmp.Or(s.limits.silence, aliveLimit)
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
			p, err := remote.StartProgramOnce(ctx, c, helperbin.For, args)
			return p, false, err
		}
	}
	proc, uploaded, err := start(own, c, []string{"host", "session"})
	if err != nil || !starting() {
		cancel()
		if ctx.Err() != nil {
			err = remote.Interrupted(ctx, "starting ferry's helper on "+c.Address().String())
		}
		return nil, uploaded, err
	}
	s := &hostSession{address: c.Address().String(), stdin: newLiving(proc.Stdin, aliveEvery), ended: proc.Wait, cancel: cancel, events: make(chan hostapi.Event, maxWaiting), log: log}
	go s.read(proc.Stdout)
	return s, uploaded, nil
}

func (s *hostSession) read(r io.Reader) {
	defer close(s.events)
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxEvent)
	for sc.Scan() {
		var ev hostapi.Event
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
			ev = hostapi.Event{Event: "log", Source: "host", Line: string(sc.Bytes()[:min(len(sc.Bytes()), maxLogLine)])}
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
func (s *hostSession) call(ctx context.Context, req hostapi.Request, result any) error {
	b, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("asking the host: %w", err)
	}
	if err := s.send(ctx, append(b, '\n')); err != nil {
		return s.lost(err)
	}
	ev, err := s.await(ctx, req)
	switch {
	case err != nil:
		return err
	case ev.Event == "error" && ev.Error == nil:
		return errors.New("the host failed and did not say why")
	case ev.Event == "error":
		return ev.Error
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(ev.Result, result); err != nil {
		return fmt.Errorf("reading the host's answer: %w", err)
	}
	return nil
}

// send writes a request, to a host that takes it.
func (s *hostSession) send(ctx context.Context, line []byte) error {
	hang := func() { _ = s.stdin.Close() } // ends a write that is stuck
	stuck := time.AfterFunc(s.patience(), hang)
	unhook := context.AfterFunc(ctx, hang)
	_, err := s.stdin.Write(line)
	inTime := stuck.Stop()
	unhook()
	switch {
	case err == nil:
		return nil
	case !inTime:
		return errSilent
	}
	return errEnded
}

// await shows what the host logs until the answer comes.
func (s *hostSession) await(ctx context.Context, req hostapi.Request) (hostapi.Event, error) {
	silence := time.NewTimer(s.patience())
	defer silence.Stop()
	chatter := cmp.Or(s.limits.chatter, maxChatter)
	for {
		select {
		case <-ctx.Done():
			return hostapi.Event{}, remote.Interrupted(ctx, "waiting for "+s.address)
		case <-silence.C:
			return hostapi.Event{}, s.lost(errSilent)
		case ev, ok := <-s.events:
			switch {
			case !ok && s.broken != nil:
				return ev, s.refuse(s.broken)
			case !ok:
				return ev, s.lost(errEnded)
			}
			s.heard = true
			silence.Reset(s.patience())
			if ev.Event == "error" || ev.Event == "result" {
				return ev, nil
			}
			if chatter -= len(ev.Line) + eventSize; chatter < 0 && !builds(req) {
				return ev, s.refuse(fmt.Errorf("%s sends more than anybody asked for: that is not ferry's helper", s.address))
			}
			if ev.Event == "log" {
				s.log(ev.Source, ev.Line)
			}
		}
	}
}

// builds says that a request's log is as long as that of what it builds, fetches,
// or makes others do.
func builds(r hostapi.Request) bool {
	return r.Build != nil || r.Evaluate != nil || r.Fetch != nil || r.Missing != nil || r.Commit != nil || r.Resume != nil
}

var errEnded = errors.New("ferry's helper there ended without an answer")

// lost ends a session whose other side is gone, or is taken for that.
func (s *hostSession) lost(err error) error {
	s.closed = true
	if werr := s.wait(); werr != nil && !errors.Is(err, errSilent) {
		err = werr
	}
	return &lostError{where: s.address, err: err}
}

// refuse ends a session whose other side is no helper of ferry's, and may send
// for ever.
func (s *hostSession) refuse(why error) error {
	s.closed = true
	s.cancel()
	_ = s.wait()
	return why
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
