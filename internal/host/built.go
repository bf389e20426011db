package host

import (
	"context"
	"fmt"
	"path/filepath"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// missing answers a MissingRequest.
func (s *Server) missing(ctx context.Context, req hostapi.MissingRequest) ([]microvm.StorePath, error) {
	missing, err := s.nix.Missing(ctx, req.Paths)
	if err != nil || len(missing) == 0 || !req.Substitute {
		return missing, err
	}
	if err := s.nix.Substitute(ctx, missing); err != nil {
		return nil, err
	}
	return s.nix.Missing(ctx, missing)
}

// arrived takes in a runner that was built elsewhere. `pending` points to it
// since before it came where the evaluation knew its path; Nix makes the link
// anew, so that a collector at work learns of it.
func (s *session) arrived(ctx context.Context, runner microvm.StorePath) (*hostapi.Built, error) {
	if _, err := microvm.ParseStorePath(string(runner)); err != nil || runner.IsDerivation() {
		return nil, hostapi.Refuse(fmt.Sprintf("%.120q is not a runner in the store", runner), "")
	}
	if s.work.Runner != "" && s.work.Runner != runner {
		return nil, fmt.Errorf("%s was built instead of the evaluated runner %s", runner, s.work.Runner)
	}
	err := step.Do(step.Build, func() error {
		missing, err := s.srv.nix.Missing(ctx, []microvm.StorePath{runner})
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("%s is not in the host's store", runner)
		}
		if err != nil {
			return err
		}
		return s.srv.nix.AddRoot(ctx, filepath.Join(s.srv.layout.ferryRoots(s.name), "pending"), runner)
	})
	if err != nil {
		return nil, err
	}
	if _, err := openRunner(s.srv.layout.Root, runner); err != nil {
		return nil, err
	}
	s.work.Runner = runner
	return &hostapi.Built{Runner: runner}, nil
}
