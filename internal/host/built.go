package host

import (
	"context"
	"fmt"
	"path/filepath"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
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
func (s *session) arrived(ctx context.Context, p microvm.StorePath) (*hostapi.Built, error) {
	if _, err := microvm.ParseStorePath(string(p)); err != nil || p.IsDerivation() {
		return nil, hostapi.Refuse(fmt.Sprintf("%.120q is not a runner in the store", p), "")
	}
	if s.work.Runner != "" && s.work.Runner != p {
		return nil, fmt.Errorf("%s was built instead of the evaluated runner %s", p, s.work.Runner)
	}
	err := step.Do(step.Build, func() error {
		missing, err := s.srv.nix.Missing(ctx, []microvm.StorePath{p})
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("%s is not in the host's store", p)
		}
		if err != nil {
			return err
		}
		return s.srv.nix.AddRoot(ctx, filepath.Join(s.srv.layout.ferryRoots(s.name), "pending"), p)
	})
	if err != nil {
		return nil, err
	}
	if _, err := runner.Open(s.srv.layout.Root, p); err != nil {
		return nil, err
	}
	s.work.Runner = p
	return &hostapi.Built{Runner: p}, nil
}
