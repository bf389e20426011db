package host

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

const (
	// resumeWait bounds how long a resuming operator waits for the session that
	// had the deployment before: a commit, an undo.
	resumeWait = commitTimeout + undoTimeout
	resumePoll = 300 * time.Millisecond
	// resumeHistory is how many entries may be younger than the deployment's own.
	resumeHistory = 100
)

// resume takes a deployment over from a session whose connection was lost, or
// tells how it has ended.
func (s *session) resume(ctx context.Context, req hostapi.ResumeRequest) (*hostapi.Resumed, error) {
	if s.lock != nil {
		return nil, hostapi.Refuse("this session has a deployment already", "")
	}
	if _, err := s.srv.locate(ctx, req.Name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resumeWait)
	defer cancel()
	shown := 0
	for asked := false; ; asked = true {
		shown += s.showLog(req, shown)
		if entry := s.srv.layout.entry(req.Name, req.ID); entry != nil {
			return &hostapi.Resumed{Deployment: entry.Deployment, Runner: entry.Runner, Outcome: entry.Outcome, Error: entry.Error, Settled: entry.Settled}, nil
		}
		if err := s.takeOver(ctx, req, !asked); err != nil {
			return nil, err
		}
		if s.lock != nil {
			return s.resumed()
		}
		select {
		case <-time.After(resumePoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for deployment %s: %w", req.ID, ctx.Err())
		}
	}
}

// resumed is the deployment that this session has taken over.
func (s *session) resumed() (*hostapi.Resumed, error) {
	r := &hostapi.Resumed{
		Deployment: s.work.Deployment, Runner: s.work.Runner, Phase: s.work.Phase,
		Deadline: s.work.Deadline, Commit: s.work.Commit,
	}
	next, err := runner.Open(s.srv.layout.Root, s.work.Runner)
	if err != nil {
		return nil, err
	}
	r.System, r.HostName = next.System, next.HostName()
	return r, nil
}

// showLog repeats what the deployment has said, from line number shown on.
func (s *session) showLog(req hostapi.ResumeRequest, shown int) int {
	if s.lock != nil {
		return 0
	}
	lines := s.srv.layout.readLog(req.Name, req.ID)
	for _, line := range lines[min(shown, len(lines)):] {
		s.out.log("host", line)
	}
	return max(0, len(lines)-shown)
}

// takeOver takes the lock if it is free, and with it the deployment where that
// can go on; another one that was interrupted it settles. A session of the same
// deployment is told to end: its operator is here now.
func (s *session) takeOver(ctx context.Context, req hostapi.ResumeRequest, tell bool) error {
	l := s.srv.layout
	var left unfinished
	if l.readNote(req.Name, noteDeployment, &left) != nil || left.ID != req.ID {
		if l.entry(req.Name, req.ID) != nil { // it has ended since the history was read
			return nil
		}
		return hostapi.Refuse(fmt.Sprintf("%s has no deployment %.80q under way, and none in its history", req.Name, req.ID),
			"ferry history "+string(req.Name)+" lists them")
	}
	if held := l.lockHolder(req.Name); held != nil {
		if tell && req.TakeOver && held.Deployment == req.ID && held.PID > 1 {
			s.log("waiting for what is under way for deployment " + req.ID)
			_ = syscall.Kill(held.PID, syscall.SIGTERM)
		}
		return nil
	}
	lock, err := l.lockVM(ctx, req.Name, hostapi.Lock{By: left.By, Deployment: left.ID, Since: left.Started})
	if err != nil {
		return nil // somebody was quicker; the next turn sees who
	}
	if l.readNote(req.Name, noteDeployment, &left) != nil || left.ID != req.ID {
		lock.release()
		return nil
	}
	if (left.Phase == "" && left.Activating) || left.awaits() > 0 {
		s.lock, s.name, s.work = lock, req.Name, left
		return nil
	}
	defer lock.release()
	return s.srv.settle(ctx, req.Name, &left, settling{log: s.log})
}

// entry finds a deployment in a VM's history.
func (l Layout) entry(n microvm.Name, id string) *hostapi.HistoryEntry {
	h, err := l.History(n, resumeHistory)
	if err != nil {
		return nil
	}
	for i := len(h.Entries) - 1; i >= 0; i-- {
		if h.Entries[i].ID == id {
			return &h.Entries[i]
		}
	}
	return nil
}
