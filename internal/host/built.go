package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
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

// obtaining is a deployment that has no runner yet.
type obtaining struct{ *deployment }

func (d obtaining) build(ctx context.Context, req hostapi.BuildRequest) (*hostapi.Built, error) {
	if req.Built != "" {
		return d.arrived(ctx, req.Built)
	}
	if len(req.Derivations) == 0 {
		return nil, hostapi.Refuse("there is nothing to build", "")
	}
	var outs []microvm.StorePath
	err := step.Do(step.Build, func() (err error) {
		outs, err = d.srv.nix.Build(ctx, d.vm.Roots().Pending(), req.Derivations...)
		return err
	})
	if err != nil {
		return nil, buildFailure(err)
	}
	if len(outs) == 0 {
		return nil, fmt.Errorf("nix build named no output")
	}
	built := outs[0]
	if d.note.Runner != "" {
		if !slices.Contains(outs, d.note.Runner) {
			return nil, fmt.Errorf("the build made %v instead of the evaluated runner %s", outs, d.note.Runner)
		}
		built = d.note.Runner
	}
	d.note.Runner = built
	return &hostapi.Built{Runner: built}, nil
}

func buildFailure(err error) error {
	var be *nix.BuildError
	if !errors.As(err, &be) {
		return err
	}
	return &hostapi.Failure{
		Kind: hostapi.KindBuild, Message: fmt.Sprintf("building %s failed: %s", be.Derivation, be.Message), Log: be.LogTail,
		Hint: be.HintOn("the host"), See: be.Section(),
	}
}

// arrived takes in a runner that was built elsewhere. `pending` points to it
// since before it came where the evaluation knew its path; Nix makes the link
// anew, so that a collector at work learns of it.
func (d obtaining) arrived(ctx context.Context, p microvm.StorePath) (*hostapi.Built, error) {
	if _, err := microvm.ParseStorePath(string(p)); err != nil || p.IsDerivation() {
		return nil, hostapi.Refuse(fmt.Sprintf("%.120q is not a runner in the store", p), "")
	}
	if d.note.Runner != "" && d.note.Runner != p {
		return nil, fmt.Errorf("%s was built instead of the evaluated runner %s", p, d.note.Runner)
	}
	err := step.Do(step.Build, func() error {
		missing, err := d.srv.nix.Missing(ctx, []microvm.StorePath{p})
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("%s is not in the host's store", p)
		}
		if err != nil {
			return err
		}
		return d.srv.nix.AddRoot(ctx, d.vm.Roots().Pending(), p)
	})
	if err != nil {
		return nil, err
	}
	if _, err := runner.Open(d.srv.see.Layout.Root, p); err != nil {
		return nil, err
	}
	d.note.Runner = p
	return &hostapi.Built{Runner: p}, nil
}
