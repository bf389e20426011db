package plan

import (
	"fmt"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// Input is what a plan is made from. Of runners it needs only the files.
type Input struct {
	Root        string  // before every path of the store; empty but in tests
	Records     Records // of the VM's runners
	VM          hostapi.VMState
	Intent      hostapi.Intent
	Record      *microvm.Record
	Runner      microvm.StorePath // may be empty before the build
	Built       bool              // the runner is in the store, so its files can be read
	GuestSystem microvm.StorePath // empty: nobody asked the guest
}

// Records has the evaluated records of a VM's runners; nil for one that it does
// not have.
type Records interface {
	Record(runner microvm.StorePath) *microvm.Record
}

// Make compares the new runner with what runs and decides.
func Make(in Input) (*hostapi.Plan, error) {
	sit := Situation{
		Intent: in.Intent, VM: in.VM, New: in.Runner, Running: in.VM.Running,
		SameAsCurrent: in.Runner != "" && in.Runner == in.VM.Current,
		FlakeDiffers:  in.Intent.UpdateFlake != "" && in.Intent.UpdateFlake != in.VM.Flake,
	}
	if in.GuestSystem != "" {
		sit.Running = in.GuestSystem
	}
	if in.Record != nil {
		sit.LiveObstacle = in.Record.LiveObstacle()
		if in.Record.System != nil {
			sit.System = in.Record.System.Out
		}
	} else if rec := in.Records.Record(in.VM.Booted); rec != nil {
		// Nobody evaluated the new one here: whether the guest that runs can be
		// switched is in the record of what it booted.
		sit.LiveObstacle = rec.LiveObstacle()
	}
	var next runner.Runner
	var err error
	if in.Built {
		if next, err = in.compareBuilt(&sit); err != nil {
			return nil, err
		}
	} else {
		sit.Hardware = RecordChanges(in.Records.Record(in.VM.Booted), in.Record)
	}
	sit.Inhibitors = in.inhibitors(sit)
	p, err := Decide(sit)
	if err != nil {
		return nil, err
	}
	p.Predicted = !in.Built
	p.RegInfo = next.RegInfo
	if p.HostName = next.HostName(); p.HostName == "" && in.Record != nil {
		p.HostName = in.Record.HostName
	}
	return &p, nil
}

// inhibitors are asked for where something runs that would be switched. A system that
// the store doesn't have is taken for one without.
func (in Input) inhibitors(sit Situation) []string {
	switch {
	case !in.VM.Unit.Up() || sit.System == sit.Running:
		return nil
	case in.Built:
		return runner.Inhibited(in.Root, sit.Running, sit.System)
	case in.Record != nil:
		return runner.InhibitedBy(in.Root, sit.Running, in.Record.SwitchInhibitors)
	}
	return nil
}

// compareBuilt reads the new runner and compares it with those of the VM.
func (in Input) compareBuilt(sit *Situation) (runner.Runner, error) {
	next, err := runner.Open(in.Root, in.Runner)
	if err != nil {
		return next, err
	}
	sit.System = next.System
	if sit.LiveObstacle == "" {
		sit.LiveObstacle = liveObstacle(next)
	}
	base := in.VM.Booted
	if base == "" {
		base = in.VM.Current
	}
	if base != "" && in.VM.Unit.Up() {
		sit.Hardware, err = in.changesFrom(base, next)
		if err != nil {
			return next, err
		}
	}
	if cur := in.VM.Current; cur != "" && cur != in.Runner {
		same, err := runner.Open(in.Root, cur)
		if err == nil && same.System == next.System && next.System != "" {
			diff, err := in.changesFrom(cur, next)
			sit.SameAsCurrent = err == nil && len(diff) == 0
		}
	}
	return next, nil
}

// liveObstacle is why a built system can't be switched to while it runs.
func liveObstacle(next runner.Runner) string {
	switch {
	case next.CanSwitch():
		return ""
	case next.System != "" && !next.SystemHere():
		return "its system is on a disk of its own, not in the host's store"
	}
	return "the system has no bin/switch-to-configuration"
}

// changesFrom names the hardware changes from an installed runner to the next. A
// base that was removed from the store counts as different.
func (in Input) changesFrom(base microvm.StorePath, next runner.Runner) ([]string, error) {
	from, err := runner.Open(in.Root, base)
	if err != nil {
		return []string{fmt.Sprintf("the booted runner cannot be read (%s)", base)}, nil
	}
	rec := in.Record
	if rec == nil {
		rec = in.Records.Record(next.Path)
	}
	return HardwareChanges(from, next, in.Records.Record(base), rec)
}
