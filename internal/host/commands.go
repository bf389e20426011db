package host

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"ferry/internal/host/protocol"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

// Others answer the requests that are other packages' to answer. One that is nil is
// refused.
type Others struct {
	List   func(ctx context.Context, req hostapi.ListRequest) ([]hostapi.Listed, error)
	Setup  func(ctx context.Context, req hostapi.SetupRequest) (any, error)
	Timers func(ctx context.Context, set json.RawMessage) (any, error)
	// Examine looks at what a deployment would meet; it needs no systemd that answers.
	Examine func(ctx context.Context, req hostapi.ExamineRequest) (any, error)
}

// maxLines bounds how much of a journal or a history is asked for at once.
const maxLines = 100_000

// needsUnits: the request can't be answered where systemd does not answer.
func needsUnits(r hostapi.Request) bool {
	return r.List == nil && r.Logs == nil && r.History == nil && r.Target == nil && r.Registration == nil &&
		r.Setup == nil && r.Timers == nil && r.Examine == nil && r.Underway == nil && r.Check == nil && r.Missing == nil && r.Token == nil && len(r.Kinds()) > 0
}

// commands answers what is no part of a deployment.
type commands struct {
	srv *Server
	out *protocol.Writer
}

func (s commands) answer(ctx context.Context, c hostapi.Commands) (any, error) {
	if n, ok := subject(c); ok {
		if _, err := microvm.ParseName(string(n)); err != nil {
			return nil, hostapi.Refuse(err.Error(), "")
		}
	}
	switch {
	case c.Start != nil:
		return s.live(ctx, *c.Start, hostapi.ActionStart)
	case c.Stop != nil:
		return s.live(ctx, *c.Stop, hostapi.ActionStop)
	case c.Restart != nil:
		return s.live(ctx, *c.Restart, hostapi.ActionRestart)
	case c.Remove != nil && c.Remove.Look:
		return s.srv.manage().LookRemove(ctx, c.Remove.Name)
	case c.Remove != nil:
		return s.srv.manage().Remove(ctx, c.Remove.Name, claim(c.Remove.LifeRequest), c.Remove.KeepData, s.tell)
	case c.Autostart != nil:
		return s.srv.manage().Autostart(ctx, c.Autostart.Name, c.Autostart.On)
	case c.Generations != nil:
		return s.srv.manage().Generations(ctx, c.Generations.Name)
	case c.Diff != nil:
		return s.srv.manage().Diff(ctx, c.Diff.Name, c.Diff.Generations...)
	case c.Target != nil:
		target, _ := s.srv.see.VM(c.Target.Name).History().Target()
		return target, nil
	case c.History != nil:
		if err := fewLines(c.History.Last); err != nil {
			return nil, err
		}
		return s.srv.see.VM(c.History.Name).History().Read(c.History.Last)
	case c.Logs != nil:
		return struct{}{}, s.logs(ctx, *c.Logs)
	case c.Registration != nil:
		return struct{}{}, s.registration(ctx, c.Registration.System)
	case c.List != nil && s.srv.others.List != nil:
		return struct{}{}, s.list(ctx, *c.List)
	case c.Setup != nil && s.srv.others.Setup != nil:
		return s.srv.others.Setup(ctx, *c.Setup)
	case c.Timers != nil && s.srv.others.Timers != nil:
		return s.srv.others.Timers(ctx, c.Timers.Set)
	case c.Examine != nil && s.srv.others.Examine != nil:
		return s.srv.others.Examine(ctx, *c.Examine)
	case c != hostapi.Commands{}:
		return nil, hostapi.Refuse("this helper does not answer that", "")
	}
	return nil, hostapi.Refuse("the request is empty", "")
}

// subject is the VM that a command is about.
func subject(c hostapi.Commands) (n microvm.Name, ok bool) {
	switch {
	case c.Start != nil:
		return c.Start.Name, true
	case c.Stop != nil:
		return c.Stop.Name, true
	case c.Restart != nil:
		return c.Restart.Name, true
	case c.Remove != nil:
		return c.Remove.Name, true
	case c.Autostart != nil:
		return c.Autostart.Name, true
	case c.Logs != nil:
		return c.Logs.Name, true
	case c.History != nil:
		return c.History.Name, true
	case c.Generations != nil:
		return c.Generations.Name, true
	case c.Diff != nil:
		return c.Diff.Name, true
	case c.Target != nil:
		return c.Target.Name, true
	}
	return "", false
}

// tell is for work that is not this session's deployment's.
func (s commands) tell(line string) { s.out.Log("host", line) }

func claim(r hostapi.LifeRequest) hostapi.Claim {
	return hostapi.Claim{By: r.By, Wait: time.Duration(r.WaitSeconds) * time.Second}
}

func (s commands) live(ctx context.Context, r hostapi.LifeRequest, verb hostapi.Action) (*hostapi.Life, error) {
	return s.srv.manage().Live(ctx, r.Name, verb, claim(r), s.tell)
}

func (s commands) logs(ctx context.Context, r hostapi.LogsRequest) error {
	if err := fewLines(r.Lines); err != nil {
		return err
	}
	return systemd.Logs(ctx, r.Name, r.Lines, r.Follow, func(l hostapi.LogLine) { _ = s.out.Item(l) })
}

func fewLines(n int) error {
	if n < 1 || n > maxLines {
		return hostapi.Refuse(fmt.Sprintf("the number of lines must be from 1 to %d, not %d", maxLines, n), "")
	}
	return nil
}

func (s commands) list(ctx context.Context, r hostapi.ListRequest) error {
	vms, err := s.srv.others.List(ctx, r)
	if err != nil {
		return err
	}
	for _, v := range vms {
		if err := s.out.Item(v); err != nil {
			return err
		}
	}
	return nil
}

// registration gives the text in pieces of whole lines.
func (s commands) registration(ctx context.Context, system microvm.StorePath) error {
	if system == "" {
		return hostapi.Refuse("the request names no system", "")
	}
	pieces := s.out.Pieces()
	if err := s.srv.nix.DumpRegistration(ctx, pieces, system); err != nil {
		return err
	}
	return pieces.End()
}
