package host

import (
	"context"
	"errors"
	"fmt"

	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// keepRunning keeps the system that a guest runs, and notes it.
func keepRunning(ctx context.Context, nix nixTool, guest vmstate.Guest, now vmstate.Running) error {
	if err := guest.MakeRoots(); err != nil {
		return err
	}
	if err := nix.AddRoot(ctx, guest.Root(), now.System); err != nil {
		return fmt.Errorf("keeping what the guest runs: %w", err)
	}
	return guest.PutRunning(now)
}

// installation is what a commit does on disk.
type installation struct {
	vm  vmstate.VM
	nix nixTool
	req hostapi.CommitRequest
	// before is how the VM was when the deployment began to change it.
	before *vmstate.Snapshot
}

// run makes the runner the VM's current one: record, generation, `old`,
// `current`, `flake`, in this order, so that a crash between any two leaves
// `current` a valid, rooted runner and running again converges. Installing what
// is current already moves nothing, so the way back is never lost.
func (i installation) run(ctx context.Context) error {
	if err := step.Do(step.Roots, i.vm.Make); err != nil {
		return err
	}
	dir, err := i.vm.Open()
	if err != nil {
		return err
	}
	defer dir.Close()
	previous, err := dir.Link("current")
	if err != nil {
		return err
	}
	if i.req.Install && previous != i.before.Current && previous != i.req.Runner {
		return &vmstate.ForeignLinkError{Link: dir.Path("current"), Found: string(previous)}
	}
	if i.req.Record != nil {
		err := step.Do(step.Record, func() error { return i.vm.Notes().PutRecord(i.req.Runner, i.req.Record) })
		if err != nil {
			return err
		}
	}
	if i.req.Install {
		if err := i.moveLinks(ctx, previous); err != nil {
			return err
		}
	}
	if i.req.UpdateFlake == "" {
		return nil
	}
	return step.Do(step.Flake, func() error { return i.vm.PutFlake(i.req.UpdateFlake) })
}

// moveLinks makes the runner the newest generation, and `current`; what was
// current becomes `old`.
func (i installation) moveLinks(ctx context.Context, previous microvm.StorePath) error {
	moves := previous != i.req.Runner
	if moves || i.req.Generation != 0 {
		if err := step.Do(step.Profile, func() error { return i.moveProfile(ctx) }); err != nil {
			return err
		}
	}
	if !moves {
		return nil
	}
	if previous == "" {
		if err := i.vm.Notes().PutToStart(); err != nil {
			return err
		}
	} else if err := step.Do(step.Old, func() error { return i.moveOld(previous) }); err != nil {
		return err
	}
	return step.Do(step.Current, func() error { return i.vm.MoveLink("current", i.req.Runner, previous) })
}

// moveOld makes `old` what is still current. One that somebody else has made stays
// where there is no way back from the installation.
func (i installation) moveOld(previous microvm.StorePath) error {
	err := i.vm.MoveLink("old", previous, i.before.Old)
	if foreign := (*vmstate.ForeignLinkError)(nil); i.req.Activation == hostapi.ActivateLive && errors.As(err, &foreign) {
		return nil
	}
	return err
}

// moveProfile makes the runner the VM's newest generation, or goes to the
// generation that it is already, whose number stays.
func (i installation) moveProfile(ctx context.Context) error {
	profile := i.vm.Profile()
	if number := i.req.Generation; number != 0 {
		if !profile.Has(number, i.req.Runner) {
			n := i.vm.Name()
			return hostapi.Refuse(fmt.Sprintf("generation %d of %s is not %s any more", number, n, i.req.Runner), "see ferry generations "+string(n))
		}
		if err := i.nix.SwitchGeneration(ctx, profile.Path(), number); err != nil {
			return fmt.Errorf("going to generation %d: %w", number, err)
		}
		return nil
	}
	if err := profile.Make(); err != nil {
		return err
	}
	if err := i.nix.SetProfile(ctx, profile.Path(), i.req.Runner); err != nil {
		return fmt.Errorf("adding the generation: %w", err)
	}
	return nil
}
