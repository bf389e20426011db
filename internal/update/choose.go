package update

import (
	"context"
	"errors"

	"ferry/internal/microvm"
)

// VM is one that a runner is chosen for.
type VM struct {
	Name     microvm.Name
	Recorded string // in its `flake` file; empty: it has none
	// Named: the user named it, so that a source without a build for it has failed.
	// Otherwise it is passed over.
	Named bool
}

// Choose asks a source which runner a VM should have. skip says why it is not to be
// updated from there.
func Choose(ctx context.Context, s Source, vm VM) (found Found, skip, err error) {
	ofFlake := false // the source builds the VM's flake, so it should have a build for it
	if s, ok := s.(interface {
		Flake(ctx context.Context) (string, error)
	}); ok { // before Hydra is asked for builds that are not for this VM
		from, err := s.Flake(ctx)
		if err != nil {
			return Found{}, nil, err
		}
		ofFlake = from != ""
		if skip := (Found{Flake: from}).For(vm.Recorded); skip != nil {
			return Found{}, skip, nil // an empty one is for all
		}
	}
	found, err = s.Latest(ctx, vm.Name)
	switch {
	case errors.Is(err, ErrNoBuild) && !vm.Named && !ofFlake:
		return Found{}, err, nil
	case err != nil:
		return Found{}, nil, err
	}
	return found, found.For(vm.Recorded), nil
}
