package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/health"
	"ferry/internal/host/step"
	"ferry/internal/hostapi"
)

const (
	// commitTimeout bounds a commit, the checks aside: it goes on after the
	// operator's side is gone.
	commitTimeout = 15 * time.Minute

	// unitPoll is how often a unit is looked at while the VM is checked.
	unitPoll = 500 * time.Millisecond
)

// commit goes on to its end though the operator's side is gone. From its first
// step on a note says how the VM was and what is under way, and a unit of its own
// stands by: whatever becomes of this process, the VM ends in the new state or in
// the one before. An error with RolledBack says that it is the latter.
func (s *session) commit(ctx context.Context, req hostapi.CommitRequest) (*hostapi.Committed, error) {
	if err := s.holds(req.Name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout+req.Confirm.Within())
	defer cancel()
	vm, err := s.srv.locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	before, err := s.srv.snapshot(req.Name, vm)
	if err != nil {
		return nil, err
	}
	s.work.Runner, s.work.Commit, s.work.Before = req.Runner, &req, before
	if err := s.phase(hostapi.PhaseCommit); err != nil {
		return nil, err
	}
	if err := step.Do(step.Guard, func() error { return s.srv.guard(ctx, req.Name, s.work.ID) }); err != nil {
		s.work.Phase = "" // nothing has changed
		return nil, errors.Join(err, s.srv.layout.writeNote(req.Name, noteDeployment, s.work))
	}
	done := &hostapi.Committed{Unit: vm.Unit}
	if err = s.install(ctx, req, vm); err == nil && req.Activation.Starts() {
		done.Unit, err = s.startUnit(ctx, req)
	}
	if err != nil {
		return nil, s.giveUp(ctx, err)
	}
	done.Generation = s.srv.layout.generation(req.Name)
	if s.work.Phase == hostapi.PhaseAwait {
		done.Deadline = s.work.Deadline
		return done, nil
	}
	return done, s.succeeded(req.Activation)
}

// phase notes how far the deployment is.
func (s *session) phase(p hostapi.Phase) error {
	s.work.Phase = p
	return s.srv.layout.writeNote(s.name, noteDeployment, s.work)
}

// install moves the links, and notes what a live-switched guest runs.
func (s *session) install(ctx context.Context, req hostapi.CommitRequest, vm *hostapi.VMState) error {
	if req.GuestSystem != "" {
		invocation := s.unit.InvocationID
		if invocation == "" {
			invocation = vm.Unit.InvocationID
		}
		err := step.Do(step.Running, func() error {
			return s.srv.rootRunning(ctx, req.Name, runningNote{InvocationID: invocation, System: req.GuestSystem})
		})
		if err != nil {
			return err
		}
	}
	return s.srv.install(ctx, req)
}

// startUnit starts or restarts the unit and makes sure that the VM is well, as
// far as the host can tell; the rest is the operator's answer.
func (s *session) startUnit(ctx context.Context, req hostapi.CommitRequest) (hostapi.UnitState, error) {
	l := s.srv.layout
	if err := errors.Join(s.phase(hostapi.PhaseRestart), l.writeNote(req.Name, noteToStart, time.Now())); err != nil {
		return hostapi.UnitState{}, err
	}
	var unit hostapi.UnitState
	err := step.Do(step.Restart, func() (err error) {
		unit, err = s.srv.units.Run(ctx, req.Name, req.Activation, s.log)
		return err
	})
	if err != nil {
		return unit, err
	}
	s.work.Invocation = unit.InvocationID
	if err := step.Do(step.Check, func() error { return s.prove(ctx, req) }); err != nil {
		return unit, err
	}
	if !req.Confirm.Await {
		return unit, nil
	}
	s.work.Deadline = time.Now().Add(req.Confirm.Within() + hostapi.Grace(req.Confirm.Within())).UTC()
	return unit, step.Do(step.Await, func() error { return s.phase(hostapi.PhaseAwait) })
}

// prove makes the checks while the unit is watched.
func (s *session) prove(ctx context.Context, req hostapi.CommitRequest) error {
	if req.Confirm.Checks.Empty() {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	go func() {
		tick := time.NewTicker(unitPoll)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := s.stayedUp(ctx, began); err != nil {
					cancel(err)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	s.log("checking " + string(req.Name))
	err := askAll(ctx, req.Confirm.Checks, req.Confirm.Within(), s.log)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// askAll makes the checks until all pass.
func askAll(ctx context.Context, checks health.Checks, within time.Duration, log func(string)) error {
	err := health.Await(ctx, checks, within, log)
	if e := (*health.Error)(nil); errors.As(err, &e) {
		return &hostapi.Failure{Kind: hostapi.KindHealth, Message: e.Error(), Hint: e.Hint()}
	}
	return err
}

// stayedUp fails where the unit is not the one any more that was started.
func (s *session) stayedUp(ctx context.Context, since time.Time) error {
	u, err := s.srv.units.Unit(ctx, s.name.Unit())
	if err != nil || (u.Up() && u.InvocationID == s.work.Invocation) {
		return err
	}
	why := fmt.Sprintf("%s did not stay up: %s (%s), result %s", s.name.Unit(), u.ActiveState, u.SubState, u.Result)
	if u.Up() {
		why = s.name.Unit() + " did not stay up: it was started again"
	}
	return s.srv.units.Failure(ctx, s.name, since, why)
}

// succeeded notes that a commit is done; what remains is the history.
func (s *session) succeeded(how hostapi.Activation) error {
	l := s.srv.layout
	var err error
	switch how {
	case hostapi.ActivateLive:
		err = l.settled(s.name)
	case hostapi.ActivateRestart, hostapi.ActivateStart:
		err = errors.Join(l.dropRunning(s.name), l.dropNote(s.name, noteToStart))
	}
	s.work.Outcome = map[hostapi.Activation]string{
		hostapi.ActivateNone: "installed", hostapi.ActivateLive: "switched", hostapi.ActivateRestart: "restarted", hostapi.ActivateStart: "started",
	}[how]
	return errors.Join(err, s.phase(hostapi.PhaseDone))
}

// giveUp ends a deployment that went wrong: undone where that is possible.
func (s *session) giveUp(ctx context.Context, cause error) error {
	if !s.work.reversible() {
		return cause
	}
	failure := *asFailure(cause)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	s.work.Why = hostapi.Reason(failure.Message)
	state, err := s.srv.undo(ctx, s.name, &s.work, s.log)
	if err != nil {
		failure.State = fmt.Sprintf("it could not be undone: %v; the host tries again, see journalctl -u %s", err, GuardUnit(s.work.ID))
		s.lock.release()
		s.lock = nil
		s.undone = &failure
		return &failure
	}
	failure.RolledBack, failure.State = true, state
	if err := s.end(hostapi.OutcomeRolledBack, failure.Message); err != nil {
		failure.State += fmt.Sprintf(" (the history could not be written: %v)", err)
	}
	s.undone = &failure
	return &failure
}

func asFailure(err error) *hostapi.Failure {
	var f *hostapi.Failure
	if errors.As(err, &f) {
		return f
	}
	return &hostapi.Failure{Kind: hostapi.KindFailed, Message: err.Error()}
}

// undoNow undoes a deployment because the operator says so.
func (s *session) undoNow(ctx context.Context, req hostapi.UndoRequest) (*hostapi.Undone, error) {
	if err := s.holds(req.Name); err != nil {
		return nil, err
	}
	if s.work.Phase != hostapi.PhaseAwait || !s.work.reversible() {
		return nil, hostapi.Refuse("there is nothing that could be undone", "")
	}
	failure := asFailure(s.giveUp(ctx, &hostapi.Failure{Kind: hostapi.KindFailed, Message: req.Why}))
	if !failure.RolledBack {
		return nil, failure
	}
	return &hostapi.Undone{State: failure.State}, nil
}

// expiry fires when the operator's answer comes too late.
func (s *session) expiry() <-chan time.Time {
	if s.lock == nil || s.work.Phase != hostapi.PhaseAwait {
		return nil
	}
	return time.After(s.work.awaits())
}

func (s *session) expire(ctx context.Context) {
	if !s.work.reversible() { // nothing to undo: it stays as it is
		s.work.Phase = hostapi.PhaseRestart
		return
	}
	why := "nobody has confirmed it by " + s.work.Deadline.Local().Format(time.TimeOnly)
	_ = s.giveUp(ctx, &hostapi.Failure{Kind: hostapi.KindFailed, Message: why})
}

// finish is the operator's last word. Where it was awaited, the unit must still
// be up.
func (s *session) finish(ctx context.Context, req hostapi.FinishRequest) (struct{}, error) {
	if err := s.holds(req.Name); err != nil {
		return struct{}{}, err
	}
	good := req.Outcome != hostapi.OutcomeFailed && req.Outcome != hostapi.OutcomeRolledBack
	switch {
	case (s.work.Phase == hostapi.PhaseAwait || s.work.Phase == hostapi.PhaseRestart) && good:
		if err := s.stayedUp(ctx, s.work.Started); err != nil {
			return struct{}{}, s.giveUp(ctx, err)
		}
		if err := s.succeeded(s.work.Commit.Activation); err != nil {
			return struct{}{}, err
		}
	case s.work.Phase == hostapi.PhaseCommit && s.work.Commit.Activation == hostapi.ActivateLive:
		s.lock.release() // the guest was confirmed: the guard finishes what failed here
		s.lock = nil
		return struct{}{}, nil
	}
	return struct{}{}, s.end(req.Outcome, s.inFull(req.Error))
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

// abandon ends a deployment whose operator's side left without finishing. What
// has changed the VM is left to the guard, an announced live switch to the next
// run, which asks the guest.
func (s *session) abandon() {
	switch {
	case s.lock == nil:
	case s.work.Phase == hostapi.PhaseDone:
		_ = s.end(s.work.Outcome, "")
	case s.work.Phase != "" || s.work.Activating:
		s.lock.release()
	default:
		_ = s.end(hostapi.OutcomeInterrupted, "")
	}
}

// end closes the deployment: history written, roots and lock let go.
func (s *session) end(outcome, failure string) error {
	defer func() { s.lock.release(); s.lock = nil }()
	return s.srv.layout.close(s.name, hostapi.HistoryEntry{
		Deployment: s.work.Deployment, Ended: time.Now().UTC(),
		Outcome: outcome, Error: failure, Runner: s.work.Runner,
	})
}
