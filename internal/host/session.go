package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// maxRequest bounds one request line, in bytes: the longest is a list of a
// closure's store paths.
const maxRequest = 32 << 20

// deploymentID is what a deployment may be called: a part of names of units and
// of files.
var deploymentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// session is one deployment as the host sees it.
type session struct {
	srv  *Server
	out  *eventWriter
	lock *vmLock
	name microvm.Name
	work unfinished
	unit hostapi.UnitState // when the live switch was announced
	// undone is what further requests are answered with, once the session has
	// undone its deployment.
	undone *hostapi.Failure
	// failed is what the last request that failed was answered with.
	failed *hostapi.Failure
}

// Serve answers requests from in until end-of-file. What is under way then is
// stopped, unless it is past the point from which it must be finished; a build
// ends and nothing has changed.
func Serve(ctx context.Context, layout Layout, others Others, in io.Reader, out io.Writer) error {
	ew := &eventWriter{w: out}
	srv, err := NewServer(ctx, layout, ew.lines("nix"))
	if err != nil { // not all that is asked needs systemd
		srv = &Server{layout: layout, noUnits: err, nix: &nix.Nix{Program: "nix", Log: ew.lines("nix")}}
	}
	srv.others = others
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
		watch := watch{end: cancel}
		defer watch.stop()
		for sc.Scan() {
			if within, ok := signOfLife(sc.Bytes()); ok {
				watch.feed(within)
				ew.print(hostapi.Event{Event: hostapi.EventAlive})
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
			s.expire(ctx)
		case <-ctx.Done(): // told to end
			return nil
		}
	}
}

// handle answers one line.
func (s *session) handle(ctx context.Context, line []byte) {
	req, err := decodeRequest(line)
	s.out.answering(req.ID)
	defer s.out.answering(0)
	if err != nil {
		s.out.fail(err)
		return
	}
	result, err := s.answer(ctx, req)
	if err != nil {
		s.failed = asFailure(err)
		s.out.fail(err)
		return
	}
	s.out.result(result)
}

// log tells the operator, and whoever attaches to the deployment later.
func (s *session) log(line string) {
	s.out.log("host", line)
	if s.lock != nil && s.name != "" {
		s.srv.layout.appendLog(s.name, s.work.ID, line)
	}
}

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
		return s.evaluate(ctx, *req.Evaluate)
	case req.Prepare != nil:
		return s.prepare(ctx, *req.Prepare)
	case req.Build != nil:
		return s.build(ctx, *req.Build)
	case req.Fetch != nil:
		return s.fetch(ctx, *req.Fetch)
	case req.Activate != nil:
		return s.activate(ctx, *req.Activate)
	case req.Observe != nil:
		return s.observe(ctx, *req.Observe)
	case req.Commit != nil:
		return s.commit(ctx, *req.Commit)
	case req.Finish != nil:
		return s.finish(ctx, *req.Finish)
	case req.Undo != nil:
		return s.undoNow(ctx, *req.Undo)
	case req.Resume != nil:
		return s.resume(ctx, *req.Resume)
	case req.Underway != nil:
		return s.srv.layout.underway(*req.Underway)
	case req.Rollback != nil:
		return s.srv.Rollback(ctx, *req.Rollback)
	case req.Check != nil:
		return struct{}{}, s.check(ctx, *req.Check)
	}
	return s.command(ctx, req.Commands)
}

// holds refuses work on a VM whose lock this session doesn't have.
func (s *session) holds(n microvm.Name) error {
	if s.undone != nil {
		return s.undone
	}
	if s.lock == nil || s.name != n {
		return hostapi.Refuse(fmt.Sprintf("this session does not hold the lock of %s", n), "")
	}
	return nil
}

func (s *session) prepare(ctx context.Context, req hostapi.PrepareRequest) (*hostapi.Prepared, error) {
	if s.lock != nil {
		return nil, hostapi.Refuse("this session has a deployment already", "")
	}
	if !deploymentID.MatchString(req.Deployment.ID) {
		return nil, hostapi.Refuse(fmt.Sprintf("%.80q is not a valid deployment id", req.Deployment.ID), "")
	}
	if _, err := s.srv.locate(ctx, req.Name); err != nil {
		return nil, err
	}
	version, err := s.srv.nix.Version(ctx)
	if err != nil {
		return nil, hostapi.Refuse(fmt.Sprintf("Nix on the host: %v", err), "install Nix there, or put it on the PATH of root's ssh sessions")
	}
	if err := nix.CheckVersion(version, "the host"); err != nil {
		return nil, hostapi.Refuse(err.Error(), "upgrade Nix there")
	}
	d := req.Deployment
	var lock *vmLock
	var waited bool
	err = step.Do(step.Lock, func() error {
		mine := hostapi.Lock{By: d.By, Deployment: d.ID, Since: d.Started, PID: os.Getpid()}
		lock, waited, err = s.srv.layout.waitVM(ctx, req.Name, mine, time.Duration(req.WaitSeconds)*time.Second, s.log)
		return err
	})
	if err != nil {
		return nil, err
	}
	if waited {
		req.GuestSystem = "" // seen before that
	}
	// The session has the lock only once all of this has succeeded: what ends a
	// session's deployment would drop an earlier one's note and roots.
	work := unfinished{Deployment: d, Runner: req.Runner}
	said, err := s.begin(ctx, req, work)
	if err != nil {
		lock.release()
		return nil, err
	}
	s.lock, s.name, s.work = lock, req.Name, work
	for _, line := range said {
		s.srv.layout.appendLog(req.Name, d.ID, line)
	}
	return &hostapi.Prepared{NixVersion: version.String(), Waited: waited}, nil
}

// begin settles an earlier deployment and notes the new one, under the VM's
// lock. Where it fails, an earlier deployment that is not settled is left as it
// is to the guard. It returns what it has told the operator.
func (s *session) begin(ctx context.Context, req hostapi.PrepareRequest, work unfinished) (said []string, err error) {
	l := s.srv.layout
	vm, err := s.srv.locate(ctx, req.Name) // as it is now that nobody else works on it
	if err != nil {
		return nil, err
	}
	log := func(line string) { s.out.log("host", line); said = append(said, line) }
	if err := s.settleEarlier(ctx, vm, req, log); err != nil {
		return nil, err
	}
	err = step.Do(step.Note, func() error { return l.writeNote(req.Name, noteDeployment, work) })
	if err == nil {
		err = step.Do(step.Pending, func() error { return l.rootPending(req.Name, req.Runner, req.Derivations) })
	}
	if err != nil { // there is no earlier deployment any more: note and roots are this one's
		entry := hostapi.HistoryEntry{Deployment: work.Deployment, Ended: time.Now().UTC(), Outcome: hostapi.OutcomeFailed, Error: err.Error(), Runner: work.Runner}
		return nil, errors.Join(err, l.appendHistory(req.Name, entry), l.forget(req.Name))
	}
	return said, nil
}

// settleEarlier deals with a deployment that was interrupted, and keeps what its
// guest may be running before its own roots are dropped.
func (s *session) settleEarlier(ctx context.Context, vm *hostapi.VMState, req hostapi.PrepareRequest, log func(string)) error {
	l := s.srv.layout
	if req.GuestSystem != "" && vm.Unit.Up() && req.GuestSystem != vm.Running {
		if err := s.srv.rootRunning(ctx, req.Name, runningNote{InvocationID: vm.Unit.InvocationID, System: req.GuestSystem}); err != nil {
			return err
		}
	}
	var left unfinished
	switch err := l.readNote(req.Name, noteDeployment, &left); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil: // it may say how to undo what is half done
		return hostapi.Refuse(fmt.Sprintf("the note of an earlier deployment cannot be read: %v", err),
			"look at "+filepath.Join(l.libDir(req.Name), noteDeployment)+" on the host; without it, nothing undoes that deployment")
	}
	if err := s.keepUnsure(req.Name, vm, &left); err != nil {
		return err
	}
	return s.srv.settle(ctx, req.Name, &left, settling{sparing: true, log: log})
}

func (s *session) build(ctx context.Context, req hostapi.BuildRequest) (*hostapi.Built, error) {
	if err := s.holds(req.Name); err != nil {
		return nil, err
	}
	if req.Built != "" {
		return s.arrived(ctx, req.Built)
	}
	if len(req.Derivations) == 0 {
		return nil, hostapi.Refuse("there is nothing to build", "")
	}
	pending := filepath.Join(s.srv.layout.ferryRoots(req.Name), "pending")
	var outs []microvm.StorePath
	err := step.Do(step.Build, func() (err error) {
		outs, err = s.srv.nix.Build(ctx, pending, req.Derivations...)
		return err
	})
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
	return &hostapi.Built{Runner: built}, nil
}

func buildFailure(err error) error {
	var be *nix.BuildError
	if !errors.As(err, &be) {
		return err
	}
	f := &hostapi.Failure{Kind: hostapi.KindBuild, Message: fmt.Sprintf("building %s failed: %s", be.Derivation, be.Message), Log: be.LogTail}
	if be.Derivation != "" {
		f.Hint = "the whole log: nix log " + string(be.Derivation) + " (on the host)"
	}
	return f
}

// activate is the point from which an operator that vanishes leaves the new
// runner rooted: its guest may be running it.
func (s *session) activate(ctx context.Context, req hostapi.ActivateRequest) (*hostapi.UnitState, error) {
	if err := s.holds(req.Name); err != nil {
		return nil, err
	}
	vm, err := s.srv.locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	s.work.Activating, s.work.Runner, s.work.Commit = true, req.Runner, req.Commit
	if err := step.Do(step.Activate, func() error { return s.srv.layout.writeNote(req.Name, noteDeployment, s.work) }); err != nil {
		return nil, err
	}
	if err := s.srv.nix.AddRoot(ctx, filepath.Join(s.srv.layout.ferryRoots(req.Name), "pending"), req.Runner); err != nil {
		return nil, err
	}
	s.unit = vm.Unit
	return &s.unit, nil
}

func (s *session) observe(ctx context.Context, req hostapi.ObserveRequest) (struct{}, error) {
	if err := s.holds(req.Name); err != nil {
		return struct{}{}, err
	}
	vm, err := s.srv.locate(ctx, req.Name)
	if err != nil {
		return struct{}{}, err
	}
	if !req.Failed && vm.Booted != "" && s.srv.systemIn(vm.Booted) == req.System {
		return struct{}{}, s.srv.layout.dropRunning(req.Name) // as booted, and kept with that
	}
	err = s.srv.rootRunning(ctx, req.Name, runningNote{InvocationID: vm.Unit.InvocationID, System: req.System, Failed: req.Failed})
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, s.srv.layout.settled(req.Name)
}

func (s *session) check(ctx context.Context, req hostapi.CheckRequest) error {
	return step.Do(step.Check, func() error {
		within := time.Duration(req.Seconds) * time.Second
		return askAll(ctx, req.Checks, within, func(line string) { s.out.log("host", line) })
	})
}
