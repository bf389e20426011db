// Package install is what a commit does on disk: the record, the generation, the links
// that make a runner the VM's current one, and the root on what its guest runs. Each
// is one rename, and all can be repeated. It must not know units, or why.
package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Timeout bounds a commit, the checks aside: it goes on after the operator's side is
// gone.
const Timeout = 15 * time.Minute

// Nix is what it needs of the nix command line.
type Nix interface {
	AddRoot(ctx context.Context, link string, p microvm.StorePath) error
	SetProfile(ctx context.Context, profile string, p microvm.StorePath) error
	SwitchGeneration(ctx context.Context, profile string, n int) error
}

// KeepRunning keeps the system that a guest runs, and notes it.
func KeepRunning(ctx context.Context, nix Nix, guest vmstate.Guest, now vmstate.Running) error {
	if err := guest.MakeRoots(); err != nil {
		return err
	}
	if err := nix.AddRoot(ctx, guest.Root(), now.System); err != nil {
		return fmt.Errorf("keeping what the guest runs: %w", err)
	}
	return guest.PutRunning(now)
}

// Installation is what a commit does on disk.
type Installation struct {
	VM  vmstate.VM
	Nix Nix
	Req hostapi.CommitRequest
	// Before is how the VM was when the deployment began to change it.
	Before *vmstate.Snapshot
}

// Run makes the runner the VM's current one: record, generation, `old`,
// `current`, `flake`, in this order, so that a crash between any two leaves
// `current` a valid, rooted runner and running again converges. Installing what
// is current already moves nothing, so the way back is never lost.
func (i Installation) Run(ctx context.Context) error {
	if err := step.Do(step.Roots, i.VM.Make); err != nil {
		return err
	}
	dir, err := i.VM.Open()
	if err != nil {
		return err
	}
	defer dir.Close()
	previous, err := dir.Link("current")
	if err != nil {
		return err
	}
	if i.Req.Install && previous != i.Before.Current && previous != i.Req.Runner {
		return &vmstate.ForeignLinkError{Link: dir.Path("current"), Found: string(previous)}
	}
	if i.Req.Record != nil {
		err := step.Do(step.Record, func() error { return i.VM.Notes().PutRecord(i.Req.Runner, i.Req.Record) })
		if err != nil {
			return err
		}
	}
	if i.Req.Install {
		if err := i.moveLinks(ctx, previous); err != nil {
			return err
		}
	}
	if i.Req.UpdateFlake == "" {
		return nil
	}
	return step.Do(step.Flake, func() error { return i.VM.PutFlake(i.Req.UpdateFlake) })
}

// moveLinks makes the runner the newest generation, and `current`; what was
// current becomes `old`.
func (i Installation) moveLinks(ctx context.Context, previous microvm.StorePath) error {
	moves := previous != i.Req.Runner
	if moves || i.Req.Generation != 0 {
		if err := step.Do(step.Profile, func() error { return i.MoveProfile(ctx) }); err != nil {
			return err
		}
	}
	if !moves {
		return nil
	}
	if previous == "" {
		if err := i.VM.Notes().PutToStart(); err != nil {
			return err
		}
	} else if err := step.Do(step.Old, func() error { return i.moveOld(previous) }); err != nil {
		return err
	}
	return step.Do(step.Current, func() error { return i.VM.MoveLink("current", i.Req.Runner, previous) })
}

// moveOld makes `old` what is still current. One that somebody else has made stays
// where there is no way back from the installation.
func (i Installation) moveOld(previous microvm.StorePath) error {
	err := i.VM.MoveLink("old", previous, i.Before.Old)
	if foreign := (*vmstate.ForeignLinkError)(nil); i.Req.Activation == hostapi.ActivateLive && errors.As(err, &foreign) {
		return nil
	}
	return err
}

// MoveProfile makes the runner the VM's newest generation, or goes to the
// generation that it is already, whose number stays.
func (i Installation) MoveProfile(ctx context.Context) error {
	profile := i.VM.Profile()
	if number := i.Req.Generation; number != 0 {
		if !profile.Has(number, i.Req.Runner) {
			n := i.VM.Name()
			return hostapi.Refuse(fmt.Sprintf("generation %d of %s is not %s any more", number, n, i.Req.Runner), "see ferry generations "+string(n))
		}
		if err := i.Nix.SwitchGeneration(ctx, profile.Path(), number); err != nil {
			return fmt.Errorf("going to generation %d: %w", number, err)
		}
		return nil
	}
	if err := profile.Make(); err != nil {
		return err
	}
	if err := i.Nix.SetProfile(ctx, profile.Path(), i.Req.Runner); err != nil {
		return fmt.Errorf("adding the generation: %w", err)
	}
	return nil
}
