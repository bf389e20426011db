package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// Rollback finds what a rollback goes back to. It changes nothing.
func (s *Server) Rollback(ctx context.Context, req hostapi.RollbackRequest) (*hostapi.RollbackTarget, error) {
	vm, err := s.locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	if !vm.Exists {
		return nil, s.noVM(req.Name)
	}
	gens, err := s.generations(req.Name, vm)
	if err != nil {
		return nil, err
	}
	t := &hostapi.RollbackTarget{}
	if req.To != 0 {
		t.Generation, err = pick(gens, req.Name, req.To)
	} else {
		t.Generation, err = previous(gens, req.Name, s.layout.generation(req.Name))
	}
	if err != nil {
		return nil, err
	}
	r, err := runner.Open(s.layout.Root, t.Generation.Runner)
	if err != nil {
		return nil, err
	}
	t.HostName, t.Record = r.HostName(), s.layout.record(req.Name, t.Generation.Runner)
	t.Target, t.TargetSudo = s.layout.RecordedTarget(req.Name)
	return t, nil
}

// RecordedTarget is the guest's address in the last deployment that knew it.
func (l Layout) RecordedTarget(n microvm.Name) (target string, sudo bool) {
	h, err := l.History(n, everyEntry)
	if err != nil {
		return "", false
	}
	for _, e := range h.Entries {
		if e.Target != "" {
			target, sudo = e.Target, e.TargetSudo
		}
	}
	return target, sudo
}

// moveProfile makes the runner the VM's newest generation, or goes to the
// generation that it is already, whose number stays.
func (s *Server) moveProfile(ctx context.Context, req hostapi.CommitRequest) error {
	profile := s.layout.profile(req.Name)
	if req.Generation != 0 {
		there, err := os.Readlink(fmt.Sprintf("%s-%d-link", profile, req.Generation))
		if err != nil || there != string(req.Runner) {
			return hostapi.Refuse(fmt.Sprintf("generation %d of %s is not %s any more", req.Generation, req.Name, req.Runner), "see ferry generations "+string(req.Name))
		}
		if err := s.nix.SwitchGeneration(ctx, profile, req.Generation); err != nil {
			return fmt.Errorf("going to generation %d: %w", req.Generation, err)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(profile), 0o755); err != nil {
		return fmt.Errorf("making the directory of generations: %w", err)
	}
	if err := s.nix.SetProfile(ctx, profile, req.Runner); err != nil {
		return fmt.Errorf("adding the generation: %w", err)
	}
	return nil
}
