package host

import (
	"context"
	"fmt"

	"ferry/internal/host/install"
	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// activate is the point from which an operator that vanishes leaves the new
// runner rooted: its guest may be running it.
func (d *deployment) activate(ctx context.Context, req hostapi.ActivateRequest) (*hostapi.UnitState, error) {
	seen, err := d.srv.see.Locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	d.note.Activating, d.note.Runner, d.note.Commit, d.note.LastResort = true, req.Runner, req.Commit, d.lastResort(seen.Unit)
	if err := step.Do(step.Activate, d.putNote); err != nil {
		return nil, err
	}
	if err := d.srv.nix.AddRoot(ctx, d.vm.Roots().Pending(), req.Runner); err != nil {
		return nil, err
	}
	d.unit = seen.Unit
	return &d.unit, nil
}

// token adds a file that nobody could know of to the store. While the session has a
// deployment, that keeps it: rooted before it is there, since a collector may be at
// work.
func (s *session) token(ctx context.Context, req hostapi.TokenRequest) (microvm.StorePath, error) {
	if !hostapi.TokenName.MatchString(req.Name) {
		return "", hostapi.Refuse(fmt.Sprintf("%.80q is not the name of a token", req.Name), "")
	}
	content := []byte(req.Name + "\n")
	if s.busy() {
		if err := s.work.vm.Roots().ExpectToken(nix.FilePath(req.Name, content)); err != nil {
			return "", err
		}
	}
	return s.srv.nix.AddFile(ctx, req.Name, content)
}

// observe notes what the guest runs.
func (d *deployment) observe(ctx context.Context, req hostapi.ObserveRequest) error {
	seen, err := d.srv.see.Locate(ctx, req.Name)
	if err != nil {
		return err
	}
	guest := d.vm.Guest()
	if !req.Failed && seen.Booted != "" && d.srv.see.SystemIn(seen.Booted) == req.System {
		return guest.Reset() // as booted, and kept with that
	}
	now := vmstate.Running{InvocationID: seen.Unit.InvocationID, System: req.System, Failed: req.Failed}
	if err := install.KeepRunning(ctx, d.srv.nix, guest, now); err != nil {
		return err
	}
	return guest.Settle()
}
