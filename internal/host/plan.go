package host

import (
	"context"
	"fmt"

	"ferry/internal/host/plan"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// planInput is what a plan is made from.
type planInput struct {
	name        microvm.Name
	vm          hostapi.VMState
	intent      hostapi.Intent
	record      *microvm.Record
	runner      microvm.StorePath // may be empty before the build
	built       bool              // the runner is in the store, so its files can be read
	guestSystem microvm.StorePath // empty: nobody asked the guest
}

// plan compares the new runner with what runs and decides.
func (s *Server) plan(in planInput) (*hostapi.Plan, error) {
	sit := plan.Situation{
		Intent: in.intent, VM: in.vm, New: in.runner, Running: in.vm.Running,
		SameAsCurrent: in.runner != "" && in.runner == in.vm.Current,
		FlakeDiffers:  in.intent.UpdateFlake != "" && in.intent.UpdateFlake != in.vm.Flake,
	}
	if in.guestSystem != "" {
		sit.Running = in.guestSystem
	}
	if in.record != nil {
		sit.LiveObstacle = in.record.LiveObstacle()
		if in.record.System != nil {
			sit.System = in.record.System.Out
		}
	} else if rec := s.layout.record(in.name, in.vm.Booted); rec != nil {
		// Nobody evaluated the new one here: whether the guest that runs can be
		// switched is in the record of what it booted.
		sit.LiveObstacle = rec.LiveObstacle()
	}
	var next runner.Runner
	var err error
	if in.built {
		if next, err = s.compareBuilt(&sit, in); err != nil {
			return nil, err
		}
	} else {
		sit.Hardware = plan.RecordChanges(s.layout.record(in.name, in.vm.Booted), in.record)
	}
	p, err := plan.Decide(sit)
	if err != nil {
		return nil, err
	}
	p.Predicted = !in.built
	p.RegInfo = next.RegInfo
	if p.HostName = next.HostName(); p.HostName == "" && in.record != nil {
		p.HostName = in.record.HostName
	}
	return &p, nil
}

// compareBuilt reads the new runner and compares it with those of the VM.
func (s *Server) compareBuilt(sit *plan.Situation, in planInput) (runner.Runner, error) {
	next, err := runner.Open(s.layout.Root, in.runner)
	if err != nil {
		return next, err
	}
	sit.System = next.System
	if sit.LiveObstacle == "" && !next.CanSwitch() {
		sit.LiveObstacle = "the system has no bin/switch-to-configuration"
	}
	base := in.vm.Booted
	if base == "" {
		base = in.vm.Current
	}
	if base != "" && in.vm.Unit.Up() {
		sit.Hardware, err = s.changesBetween(in.name, base, next, in.record)
		if err != nil {
			return next, err
		}
	}
	if cur := in.vm.Current; cur != "" && cur != in.runner {
		same, err := runner.Open(s.layout.Root, cur)
		if err == nil && same.System == next.System && next.System != "" {
			diff, err := s.changesBetween(in.name, cur, next, in.record)
			sit.SameAsCurrent = err == nil && len(diff) == 0
		}
	}
	return next, nil
}

// changesBetween names the hardware changes from an installed runner to the
// next. A base that was removed from the store counts as different.
func (s *Server) changesBetween(n microvm.Name, base microvm.StorePath, next runner.Runner, rec *microvm.Record) ([]string, error) {
	from, err := runner.Open(s.layout.Root, base)
	if err != nil {
		return []string{fmt.Sprintf("the booted runner cannot be read (%s)", base)}, nil
	}
	if rec == nil {
		rec = s.layout.record(n, next.Path)
	}
	return plan.HardwareChanges(from, next, s.layout.record(n, base), rec)
}

// Plan answers a PlanRequest for a runner that is in the store.
func (s *Server) Plan(ctx context.Context, req hostapi.PlanRequest) (*hostapi.Plan, error) {
	vm, err := s.locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	p, err := s.plan(planInput{
		name: req.Name, vm: *vm, intent: req.Intent, record: req.Record,
		runner: req.Runner, built: true, guestSystem: req.GuestSystem,
	})
	if err != nil {
		return nil, err
	}
	if p.Changed {
		p.Closure = s.closureDiff(ctx, *vm, p)
	}
	return p, nil
}

// closureDiff compares what runs with what is to run: systems where both are
// known, else runners.
func (s *Server) closureDiff(ctx context.Context, vm hostapi.VMState, p *hostapi.Plan) []string {
	from, to := vm.Running, p.System
	if from == "" || to == "" {
		from, to = vm.Current, p.Runner
	}
	if from == "" || to == "" || from == to {
		return nil
	}
	lines, err := s.nix.DiffClosures(ctx, from, to)
	if err != nil {
		return []string{"(the closures cannot be compared: " + firstLine(err.Error()) + ")"}
	}
	return lines
}
