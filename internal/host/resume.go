package host

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"ferry/internal/host/install"
	"ferry/internal/host/settle"
	"ferry/internal/host/undo"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/runner"
)

const (
	// resumeWait bounds how long a resuming operator waits for the session that
	// had the deployment before: a commit, an undo.
	resumeWait = install.Timeout + undo.Timeout
	resumePoll = 300 * time.Millisecond
)

// resume takes a deployment over from a session whose connection was lost, or
// tells how it has ended.
func (s *session) resume(ctx context.Context, req hostapi.ResumeRequest) (*hostapi.Resumed, error) {
	if s.busy() {
		return nil, hostapi.Refuse("this session has a deployment already", "")
	}
	if _, err := s.srv.see.Locate(ctx, req.Name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resumeWait)
	defer cancel()
	vm := s.srv.see.VM(req.Name)
	shown := 0
	for asked := false; ; asked = true {
		shown += s.showLog(vm.Log(req.ID), shown)
		if entry := vm.History().Entry(req.ID); entry != nil {
			return &hostapi.Resumed{Deployment: entry.Deployment, Runner: entry.Runner, Outcome: entry.Outcome, Error: entry.Error, Settled: entry.Settled, Down: entry.Down}, nil
		}
		if err := s.takeOver(ctx, vm, req, !asked); err != nil {
			return nil, err
		}
		if s.busy() {
			return s.work.resumed()
		}
		select {
		case <-time.After(resumePoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for deployment %s: %w", req.ID, ctx.Err())
		}
	}
}

// resumed is the deployment that this session has taken over.
func (d *deployment) resumed() (*hostapi.Resumed, error) {
	r := &hostapi.Resumed{
		Deployment: d.note.Deployment, Runner: d.note.Runner, Phase: d.note.Phase,
		Deadline: d.note.Deadline, Commit: d.note.Commit,
	}
	next, err := runner.Open(d.srv.see.Layout.Root, d.note.Runner)
	if err != nil {
		return nil, err
	}
	r.System, r.HostName = next.System, next.HostName()
	return r, nil
}

// showLog repeats what the deployment has said, from line number shown on.
func (s *session) showLog(log vmstate.Log, shown int) int {
	lines := log.Lines()
	for _, line := range lines[min(shown, len(lines)):] {
		s.say(line)
	}
	return max(0, len(lines)-shown)
}

// takeOver takes the lock if it is free, and with it the deployment where that
// can go on; another one that was interrupted it settles. A session of the same
// deployment is told to end: its operator is here now.
func (s *session) takeOver(ctx context.Context, vm vmstate.VM, req hostapi.ResumeRequest, tell bool) error {
	left := vm.Notes().Left()
	if left == nil || left.ID != req.ID {
		if vm.History().Entry(req.ID) != nil { // it has ended since the history was read
			return nil
		}
		return hostapi.Refuse(fmt.Sprintf("%s has no deployment %.80q under way, and none in its history", req.Name, req.ID),
			"ferry history "+string(req.Name)+" lists them")
	}
	if held := vm.Lock().Holder(); held != nil {
		if tell && req.TakeOver && held.Deployment == req.ID && held.PID > 1 {
			s.say("waiting for what is under way for deployment " + req.ID)
			_ = syscall.Kill(held.PID, syscall.SIGTERM)
		}
		return nil
	}
	lock, err := vm.Lock().Take(ctx, hostapi.Lock{By: left.By, Deployment: left.ID, Since: left.Started})
	if err != nil {
		return nil // somebody was quicker; the next turn sees who
	}
	if left = vm.Notes().Left(); left == nil || left.ID != req.ID {
		lock.Release()
		return nil
	}
	if left.Known() && ((left.Phase == "" && left.Activating) || left.Awaits(vm.Now()) > 0) {
		s.work = s.take(vm, lock, *left)
		return s.work.putBack(ctx)
	}
	defer lock.Release()
	how := s.srv.unfinished().Settling(vm, left, settle.Attached, s.say)
	how.Choice = req.Settle
	return how.Settle(ctx)
}
