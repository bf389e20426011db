package hostclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"ferry/internal/helperbin"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

const (
	maxWaiting   = 4                // events read ahead: a host may send without being asked
	maxChatter   = 16 << 20         // bytes of events before an answer that takes no build
	maxWork      = 1 << 30          // bytes of events before any other answer
	eventSize    = 64               // bytes that each counts for, without its line
	closeTimeout = 20 * time.Second // for the helper to end what it was doing
)

// Log is told what a host says while it works: `nix` or `host`, and a line. What is
// no event, as a login banner, has no source.
type Log func(source, line string)

// Session is one helper on a host, which holds what it was asked to hold (a VM's
// lock) until the session ends. It takes one request at a time, of one goroutine.
type Session struct {
	p      Peer
	stdin  io.WriteCloser
	events chan hostapi.Event
	log    Log
	closed bool
	heard  bool // the helper has shown that it speaks the protocol
	limits limits
	broken error // what can't be read; set before events is closed

	last uint64        // id of a request
	turn chan struct{} // full while a request is being written
	// left are the requests whose answers nobody waits for any more.
	left map[uint64]bool
}

// limits are after how much silence a host is taken for lost, and how many bytes
// it may log where nothing is built. 0: as said.
type limits struct {
	greeting time.Duration // before the first sign of life: greetLimit
	silence  time.Duration // aliveLimit
	chatter  int           // maxChatter
	work     int           // maxWork
	values   int           // of an answer: maxValues
	line     int           // of an event: maxEvent
}

// Peer is a helper that was started.
type Peer struct {
	Address string // in messages
	Stdin   io.WriteCloser
	Stdout  io.Reader
	Wait    func() error // for its end, which the end of its input brings
	Kill    func()
}

// Options are for Open.
type Options struct {
	// NoTrace leaves nothing of the helper on a host that lacks it: for runs that
	// must change nothing.
	NoTrace bool
	Program helperbin.Find // what is started there; nil: the helper
	Name    string         // of the host, in messages; empty: its address
	Log     Log            // nil: nobody is told
}

// Open starts the helper, uploading it where the host lacks it. The helper outlives
// ctx: whoever is interrupted closes the session, and so waits until the host has
// put things in order.
func Open(ctx context.Context, c remote.Conn, o Options) (s *Session, uploaded bool, err error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	starting := context.AfterFunc(ctx, cancel)
	proc, uploaded, err := start(own, c, o, "host", "session")
	if err != nil || !starting() {
		cancel()
		if ctx.Err() != nil {
			err = remote.Interrupted(ctx, "starting ferry's helper on "+c.Address().String())
		}
		return nil, uploaded, err
	}
	return New(Peer{
		Address: cmp.Or(o.Name, c.Address().String()), Stdin: newLiving(proc.Stdin, aliveEvery), Stdout: proc.Stdout, Wait: proc.Wait, Kill: cancel,
	}, o.Log), uploaded, nil
}

// New is a session with a helper that somebody else has started. It gives no signs
// of life.
func New(p Peer, log Log) *Session { return newSession(p, log, limits{}) }

func newSession(p Peer, log Log, l limits) *Session {
	if log == nil {
		log = func(string, string) {}
	}
	s := &Session{p: p, stdin: p.Stdin, events: make(chan hostapi.Event, maxWaiting), log: log, limits: l, turn: make(chan struct{}, 1), left: map[uint64]bool{}}
	go s.read(p.Stdout)
	return s
}

// Address is the host's.
func (s *Session) Address() string { return s.p.Address }

// Closed reports whether the session has ended, by Close or because it was lost.
func (s *Session) Closed() bool { return s.closed }

func (s *Session) patience() time.Duration {
	if !s.heard {
		return cmp.Or(s.limits.greeting, greetLimit)
	}
	return cmp.Or(s.limits.silence, aliveLimit)
}

// Call sends a request and waits for its answer, which is decoded into answer (nil:
// none is wanted). The error is a *hostapi.Failure where the host gave a reason, a
// *LostError where the connection was lost. Where ctx ends before, the host goes on
// with the request, and its answer goes to nobody: the next call gets its own.
func (s *Session) Call(ctx context.Context, req hostapi.Request, answer any) error {
	return s.Stream(ctx, req, Items{}, answer)
}

// Items is how the parts of an answer are taken that come one by one.
type Items struct {
	// Each takes one; its error ends the call. nil: there must be none.
	Each func(item json.RawMessage) error
	// Most and Bytes bound them all; 0: any number, as nobody keeps them.
	Most, Bytes int
}

// Stream is Call for a request that is answered in parts.
func (s *Session) Stream(ctx context.Context, req hostapi.Request, items Items, answer any) error {
	if s.closed {
		return &LostError{where: s.p.Address, err: errClosed}
	}
	if ctx.Err() != nil {
		return remote.Interrupted(ctx, "waiting for "+s.p.Address)
	}
	s.last++
	req.ID, req.Protocol = s.last, hostapi.ProtocolVersion
	b, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("asking the host: %w", err)
	}
	if err := s.send(ctx, s.last, append(b, '\n')); err != nil {
		return err
	}
	ev, err := s.await(ctx, &wait{req: req, items: items})
	switch {
	case err != nil:
		return err
	case ev.Event == hostapi.EventError && ev.Error == nil:
		return errors.New("the host failed and did not say why")
	case ev.Event == hostapi.EventError:
		return ev.Error.Bounded()
	case answer == nil:
		return nil
	}
	if err := checkShape(ev.Result, cmp.Or(s.limits.values, maxValues)); err != nil {
		return s.refuse("%v", err)
	}
	if err := json.Unmarshal(ev.Result, answer); err != nil {
		return fmt.Errorf("reading the host's answer: %w", err)
	}
	return nil
}

// send writes a request, to a host that takes it. One whose call is given up
// meanwhile is written to its end all the same: half a line would spoil the next.
func (s *Session) send(ctx context.Context, id uint64, line []byte) error {
	within := s.patience()
	stuck := time.NewTimer(within)
	defer stuck.Stop()
	written := make(chan error, 1)
	turn := s.turn // nil: it is being written, or was
	for {
		select {
		case turn <- struct{}{}:
			turn = nil
			go func() {
				_, err := s.stdin.Write(line)
				<-s.turn
				written <- err
			}()
		case err := <-written:
			if err != nil {
				return s.lost(errEnded)
			}
			return nil
		case <-ctx.Done():
			if turn == nil {
				s.left[id] = true
			}
			return remote.Interrupted(ctx, "waiting for "+s.p.Address)
		case <-stuck.C:
			return s.lost(s.silent(within))
		}
	}
}

// Close ends the session and waits until the host has put things in order: a build
// that is under way ends, the VM's lock is let go.
func (s *Session) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return s.wait()
}

// lost ends a session whose other side is gone, or is taken for that.
func (s *Session) lost(err error) error {
	s.closed = true
	if werr := s.wait(); werr != nil && !errors.Is(err, ErrSilent) {
		err = werr
	}
	return &LostError{where: s.p.Address, err: err}
}

// refuse ends a session whose other side is no helper of ferry's, and may send
// for ever.
func (s *Session) refuse(sends string, args ...any) error {
	s.closed = true
	s.p.Kill()
	_ = s.wait()
	return fmt.Errorf("%s sends "+sends+": that is not ferry's helper", append([]any{s.p.Address}, args...)...)
}

// drain keeps a full channel from holding the reader, and so the helper, but for no
// helper that goes on talking.
func (s *Session) drain() {
	left := cmp.Or(s.limits.chatter, maxChatter)
	for ev := range s.events {
		if left -= size(ev); left < 0 {
			s.p.Kill()
		}
	}
}

func (s *Session) wait() error {
	defer s.p.Kill()
	_ = s.stdin.Close()
	done := make(chan error, 1)
	go func() { done <- s.p.Wait() }()
	go s.drain()
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("the helper did not end within %s", closeTimeout)
	}
}
