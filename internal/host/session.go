package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"ferry/internal/host/inventory"
	"ferry/internal/host/protocol"
	"ferry/internal/host/prove"
	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// maxRequest bounds one request line, in bytes: the longest is a list of a
// closure's store paths.
const maxRequest = 32 << 20

// lastRead is how long a session that has ended waits for the reader of its answers.
const lastRead = 10 * time.Second

// session answers an operator's requests. It has one deployment at a time.
type session struct {
	srv  *Server
	out  *protocol.Writer
	work *deployment // nil before the first one was prepared
	// failed is what the last request that failed was answered with.
	failed *hostapi.Failure
}

// Serve answers requests from in until end-of-file. What is under way then is
// stopped, unless it is past the point from which it must be finished; a build
// ends and nothing has changed.
func Serve(ctx context.Context, layout vmstate.Layout, others Others, in io.Reader, out io.Writer) error {
	ew := protocol.NewWriter(out)
	srv, err := NewServer(ctx, layout, ew.Lines("nix"))
	if err != nil { // not all that is asked needs systemd
		srv = &Server{see: &inventory.Observer{Layout: layout}, noUnits: err, nix: &nix.Nix{Program: "nix", Log: ew.Lines("nix")}}
	}
	srv.others = others
	defer srv.Close()
	defer ew.Flush(lastRead) // with the lock let go of
	return serve(ctx, srv, ew, in)
}

func serve(ctx context.Context, srv *Server, ew *protocol.Writer, in io.Reader) error {
	s := &session{srv: srv, out: ew}
	defer s.abandon()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, ew.Leave)()
	requests := make(chan []byte)
	go func() {
		defer close(requests)
		defer cancel() // end-of-file: nobody waits for an answer any more
		sc := bufio.NewScanner(in)
		sc.Buffer(make([]byte, 0, 64<<10), maxRequest)
		watch := protocol.Watch{End: cancel}
		defer watch.Stop()
		for sc.Scan() {
			if within, ok := protocol.SignOfLife(sc.Bytes()); ok {
				watch.Feed(within)
				ew.Within(within, cancel)
				ew.Print(hostapi.Event{Event: hostapi.EventAlive})
				continue
			}
			select {
			case requests <- slices.Clone(sc.Bytes()):
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case line, more := <-requests:
			if !more {
				return nil
			}
			s.handle(ctx, line)
		case <-s.expiry():
			if s.work.note.Awaits(s.work.vm.Now()) == 0 {
				s.work.expire(ctx)
			}
		case <-ctx.Done(): // told to end
			return nil
		}
	}
}

// handle answers one line.
func (s *session) handle(ctx context.Context, line []byte) {
	req, err := protocol.Decode(line)
	s.out.Answering(req.ID)
	defer s.out.Answering(0)
	if err != nil {
		s.out.Fail(err)
		return
	}
	result, err := s.answer(ctx, req)
	if err != nil {
		s.failed = hostapi.FailureOf(err)
		s.out.Fail(err)
		return
	}
	s.out.Result(result)
}

// say tells the operator.
func (s *session) say(line string) { s.out.Log("host", line) }

func (s *session) answer(ctx context.Context, req hostapi.Request) (any, error) {
	if s.srv.noUnits != nil && needsUnits(req) {
		return nil, s.srv.noUnits
	}
	switch {
	case req.Probe != nil:
		return s.srv.Probe(ctx, *req.Probe)
	case req.Plan != nil:
		return s.srv.Plan(ctx, *req.Plan)
	case req.Missing != nil:
		return s.srv.missing(ctx, *req.Missing)
	case req.Evaluate != nil:
		return s.holding(req.Evaluate.Name, func(d *deployment) (any, error) { return obtaining{d}.evaluate(ctx, *req.Evaluate) })
	case req.Prepare != nil:
		return s.prepare(ctx, *req.Prepare)
	case req.Build != nil:
		return s.holding(req.Build.Name, func(d *deployment) (any, error) { return obtaining{d}.build(ctx, *req.Build) })
	case req.Fetch != nil:
		return s.holding(req.Fetch.Name, func(d *deployment) (any, error) { return obtaining{d}.fetch(ctx, *req.Fetch) })
	case req.Activate != nil:
		return s.holding(req.Activate.Name, func(d *deployment) (any, error) { return d.activate(ctx, *req.Activate) })
	case req.Observe != nil:
		return s.holding(req.Observe.Name, func(d *deployment) (any, error) { return struct{}{}, d.observe(ctx, *req.Observe) })
	case req.Commit != nil:
		return s.holding(req.Commit.Name, func(d *deployment) (any, error) { return committing{d}.commit(ctx, *req.Commit) })
	case req.Finish != nil:
		return s.holding(req.Finish.Name, func(d *deployment) (any, error) {
			return struct{}{}, d.finish(ctx, req.Finish.Outcome, s.inFull(req.Finish.Error))
		})
	case req.Undo != nil:
		return s.holding(req.Undo.Name, func(d *deployment) (any, error) { return d.undo(ctx, *req.Undo) })
	case req.Reboot != nil:
		return s.holding(req.Reboot.Name, func(d *deployment) (any, error) { return rebooting{d}.reboot(ctx, *req.Reboot) })
	case req.Resume != nil:
		return s.resume(ctx, *req.Resume)
	case req.Underway != nil:
		return inventory.Underway(s.srv.see.Layout, *req.Underway)
	case req.Rollback != nil:
		return s.srv.manage().RollbackTarget(ctx, *req.Rollback)
	case req.Token != nil:
		return s.token(ctx, *req.Token)
	case req.Check != nil:
		return struct{}{}, s.check(ctx, *req.Check)
	}
	return commands{srv: s.srv, out: s.out}.answer(ctx, req.Commands)
}

// holding works on the session's deployment. It refuses work on a VM whose lock
// this session doesn't have; after an undo the answer is why that was made.
func (s *session) holding(n microvm.Name, work func(*deployment) (any, error)) (any, error) {
	switch {
	case s.work != nil && s.work.undone != nil:
		return nil, s.work.undone
	case !s.busy() || s.work.vm.Name() != n:
		return nil, hostapi.Refuse(fmt.Sprintf("this session does not hold the lock of %s", n), "")
	}
	return work(s.work)
}

// busy: the session has a deployment that has not ended.
func (s *session) busy() bool { return s.work != nil && s.work.lock != nil }

// expiryPoll is how often a deadline is looked at: a timer of this process stands
// still while the machine sleeps.
const expiryPoll = 5 * time.Second

// expiry fires when it is time to look whether the operator's answer comes too
// late.
func (s *session) expiry() <-chan time.Time {
	if !s.busy() || s.work.note.Phase != hostapi.PhaseAwait {
		return nil
	}
	return time.After(min(expiryPoll, s.work.note.Awaits(s.work.vm.Now())))
}

// maxSaid bounds the lines of a build's or download's log in the history.
const maxSaid = 8

// inFull adds to the operator's word on a failure what a program here has said
// about it, which operators are shown apart from the failure.
func (s *session) inFull(why string) string {
	if s.failed == nil || len(s.failed.Log) == 0 || !strings.Contains(why, s.failed.Message) {
		return why
	}
	log := s.failed.Log[max(0, len(s.failed.Log)-maxSaid):]
	return why + "\n" + strings.Join(log, "\n")
}

// abandon ends a deployment whose operator's side left without finishing.
func (s *session) abandon() {
	if s.busy() {
		s.work.abandon()
	}
}

func (s *session) check(ctx context.Context, req hostapi.CheckRequest) error {
	return step.Do(step.Check, func() error {
		return prove.All(ctx, req.Checks, time.Duration(req.Seconds)*time.Second, s.say)
	})
}
