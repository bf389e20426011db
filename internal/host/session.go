package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// maxRequest bounds one request line, in bytes: the longest is a list of a
// closure's store paths.
const maxRequest = 32 << 20

// commitTimeout bounds what goes on after the operator's side is gone.
const commitTimeout = 15 * time.Minute

// session is one deployment as the host sees it.
type session struct {
	srv  *Server
	out  *eventWriter
	lock *vmLock
	name microvm.Name
	work unfinished
	unit UnitState // when the live switch was announced
}

// Serve answers requests from in until end-of-file. What is under way then is
// stopped, unless it is past the point from which it must be finished; a build
// ends and nothing has changed.
func Serve(ctx context.Context, layout Layout, in io.Reader, out io.Writer) error {
	ew := &eventWriter{w: out}
	srv, err := NewServer(ctx, layout, ew.lines("nix"))
	if err != nil {
		ew.fail(err)
		return nil
	}
	defer srv.Close()
	return serve(ctx, srv, ew, in)
}

func serve(ctx context.Context, srv *Server, ew *eventWriter, in io.Reader) error {
	s := &session{srv: srv, out: ew}
	defer s.abandon()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests := make(chan []byte)
	go func() {
		defer close(requests)
		defer cancel() // end-of-file: nobody waits for an answer any more
		sc := bufio.NewScanner(in)
		sc.Buffer(make([]byte, 0, 64<<10), maxRequest)
		for sc.Scan() {
			select {
			case requests <- slices.Clone(sc.Bytes()):
			case <-ctx.Done():
				return
			}
		}
	}()
	for line := range requests {
		var req Request
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			ew.fail(refuse(fmt.Sprintf("the request cannot be read: %v", err), "operator and host run different versions of ferry"))
			continue
		}
		result, err := s.answer(ctx, req)
		if err != nil {
			ew.fail(err)
			continue
		}
		ew.result(result)
	}
	return nil
}

func (s *session) answer(ctx context.Context, req Request) (any, error) {
	switch {
	case req.Probe != nil:
		return s.srv.Probe(ctx, *req.Probe)
	case req.Plan != nil:
		return s.srv.Plan(ctx, *req.Plan)
	case req.Missing != nil:
		return s.srv.nix.Missing(ctx, req.Missing.Paths)
	case req.Prepare != nil:
		return s.prepare(ctx, *req.Prepare)
	case req.Build != nil:
		return s.build(ctx, *req.Build)
	case req.Activate != nil:
		return s.activate(ctx, *req.Activate)
	case req.Observe != nil:
		return s.observe(ctx, *req.Observe)
	case req.Commit != nil:
		return s.commit(ctx, *req.Commit)
	case req.Finish != nil:
		return s.finish(*req.Finish)
	case req.Rollback != nil:
		return s.srv.Rollback(ctx, *req.Rollback)
	case req.Check != nil:
		return struct{}{}, s.check(ctx, *req.Check)
	}
	return nil, refuse("the request is empty", "")
}

// holds refuses work on a VM whose lock this session doesn't have.
func (s *session) holds(n microvm.Name) error {
	if s.lock == nil || s.name != n {
		return refuse(fmt.Sprintf("this session does not hold the lock of %s", n), "")
	}
	return nil
}

func (s *session) prepare(ctx context.Context, req PrepareRequest) (*Prepared, error) {
	if s.lock != nil {
		return nil, refuse("this session has a deployment already", "")
	}
	if _, err := s.srv.locate(ctx, req.Name); err != nil {
		return nil, err
	}
	version, err := s.srv.nix.Version(ctx)
	if err != nil {
		return nil, refuse(fmt.Sprintf("Nix on the host: %v", err), "install Nix there, or put it on the PATH of root's ssh sessions")
	}
	if err := nix.CheckVersion(version, "the host"); err != nil {
		return nil, refuse(err.Error(), "upgrade Nix there")
	}
	l := s.srv.layout
	d := req.Deployment
	s.lock, err = l.lockVM(ctx, req.Name, Lock{By: d.By, Deployment: d.ID, Since: d.Started})
	if err != nil {
		return nil, err
	}
	s.name, s.work = req.Name, unfinished{Deployment: d, Runner: req.Runner}
	vm, err := s.srv.locate(ctx, req.Name) // as it is now that nobody else works on it
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx, vm, req); err != nil {
		return nil, err
	}
	if err := l.writeNote(req.Name, noteDeployment, s.work); err != nil {
		return nil, err
	}
	if err := l.rootPending(req.Name, req.Runner, req.Derivations); err != nil {
		return nil, err
	}
	return &Prepared{NixVersion: version.String()}, nil
}

// settle deals with a deployment that was interrupted: its entry in the history,
// and a root for what its guest may be running, before its own is dropped.
func (s *session) settle(ctx context.Context, vm *VMState, req PrepareRequest) error {
	l := s.srv.layout
	if req.GuestSystem != "" && vm.Unit.Up() && req.GuestSystem != vm.Running {
		if err := s.srv.rootRunning(ctx, req.Name, runningNote{InvocationID: vm.Unit.InvocationID, System: req.GuestSystem}); err != nil {
			return err
		}
	}
	var left unfinished
	if l.readNote(req.Name, noteDeployment, &left) != nil {
		return nil
	}
	s.out.log("host", "deployment "+left.ID+" by "+left.By+" was interrupted")
	if left.Activating && vm.Unit.Up() {
		note := unsureNote{InvocationID: vm.Unit.InvocationID, Runner: left.Runner}
		err := errors.Join(replaceLink(l.ferryRoots(req.Name), "interrupted", string(left.Runner)), l.writeNote(req.Name, noteUnsure, note))
		if err != nil {
			return err
		}
	}
	return l.appendHistory(req.Name, HistoryEntry{Deployment: left.Deployment, Ended: time.Now().UTC(), Outcome: "interrupted", Runner: left.Runner})
}

func (s *session) build(ctx context.Context, req BuildRequest) (*Built, error) {
	if err := s.holds(req.Name); err != nil {
		return nil, err
	}
	if len(req.Derivations) == 0 {
		return nil, refuse("there is nothing to build", "")
	}
	pending := filepath.Join(s.srv.layout.ferryRoots(req.Name), "pending")
	outs, err := s.srv.nix.Build(ctx, pending, req.Derivations...)
	if err != nil {
		return nil, buildFailure(err)
	}
	if len(outs) == 0 {
		return nil, fmt.Errorf("nix build named no output")
	}
	built := outs[0]
	if s.work.Runner != "" {
		if !slices.Contains(outs, s.work.Runner) {
			return nil, fmt.Errorf("the build made %v instead of the evaluated runner %s", outs, s.work.Runner)
		}
		built = s.work.Runner
	}
	s.work.Runner = built
	return &Built{Runner: built}, nil
}

func buildFailure(err error) error {
	var be *nix.BuildError
	if !errors.As(err, &be) {
		return err
	}
	f := &Failure{Kind: KindBuild, Message: fmt.Sprintf("building %s failed: %s", be.Derivation, be.Message), Log: be.LogTail}
	if be.Derivation != "" {
		f.Hint = "the whole log: nix log " + string(be.Derivation) + " (on the host)"
	}
	return f
}

// activate is the point from which an operator that vanishes leaves the new
// runner rooted: its guest may be running it.
func (s *session) activate(ctx context.Context, req ActivateRequest) (*UnitState, error) {
	if err := s.holds(req.Name); err != nil {
		return nil, err
	}
	vm, err := s.srv.locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	s.work.Activating, s.work.Runner = true, req.Runner
	if err := s.srv.layout.writeNote(req.Name, noteDeployment, s.work); err != nil {
		return nil, err
	}
	if err := s.srv.nix.AddRoot(ctx, filepath.Join(s.srv.layout.ferryRoots(req.Name), "pending"), req.Runner); err != nil {
		return nil, err
	}
	s.unit = vm.Unit
	return &s.unit, nil
}

func (s *session) observe(ctx context.Context, req ObserveRequest) (struct{}, error) {
	if err := s.holds(req.Name); err != nil {
		return struct{}{}, err
	}
	vm, err := s.srv.locate(ctx, req.Name)
	if err != nil {
		return struct{}{}, err
	}
	err = s.srv.rootRunning(ctx, req.Name, runningNote{InvocationID: vm.Unit.InvocationID, System: req.System, Failed: req.Failed})
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, s.srv.layout.settled(req.Name)
}

// commit goes on to its end though the operator's side is gone: from its first
// step on, stopping half-way would be worse.
func (s *session) commit(ctx context.Context, req CommitRequest) (*Committed, error) {
	if err := s.holds(req.Name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	l := s.srv.layout
	vm, err := s.srv.locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	if req.GuestSystem != "" {
		invocation := s.unit.InvocationID
		if invocation == "" {
			invocation = vm.Unit.InvocationID
		}
		if err := s.srv.rootRunning(ctx, req.Name, runningNote{InvocationID: invocation, System: req.GuestSystem}); err != nil {
			return nil, err
		}
	}
	if err := s.srv.install(ctx, req); err != nil {
		return nil, err
	}
	done := &Committed{Generation: l.generation(req.Name), Unit: vm.Unit}
	switch req.Activation {
	case ActivateNone:
		return done, nil
	case ActivateLive:
		return done, l.settled(req.Name)
	}
	if err := l.writeNote(req.Name, noteToStart, time.Now()); err != nil {
		return nil, err
	}
	done.Unit, err = s.srv.units.run(ctx, req.Name, req.Activation, func(line string) { s.out.log("host", line) })
	if err != nil {
		return nil, err
	}
	return done, errors.Join(l.dropRunning(req.Name), l.dropNote(req.Name, noteToStart))
}

func (s *session) check(ctx context.Context, req CheckRequest) error {
	return do(StepCheck, func() error {
		within := time.Duration(req.Seconds) * time.Second
		return req.Checks.Await(ctx, within, func(line string) { s.out.log("host", line) })
	})
}

func (s *session) finish(req FinishRequest) (struct{}, error) {
	if err := s.holds(req.Name); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, s.end(req.Outcome, req.Error)
}

// abandon ends a deployment whose operator's side left without finishing.
func (s *session) abandon() {
	if s.lock == nil {
		return
	}
	if s.work.Activating {
		s.lock.release() // note and root stay: the next run settles it
		return
	}
	_ = s.end("interrupted", "")
}

// end closes the deployment: history written, roots and lock let go.
func (s *session) end(outcome, failure string) error {
	l := s.srv.layout
	defer func() { s.lock.release(); s.lock = nil }()
	return errors.Join(
		l.appendHistory(s.name, HistoryEntry{
			Deployment: s.work.Deployment, Ended: time.Now().UTC(),
			Outcome: outcome, Error: failure, Runner: s.work.Runner,
		}),
		l.dropPending(s.name),
		l.dropNote(s.name, noteDeployment),
		l.dropEmptyRoots(s.name),
	)
}
