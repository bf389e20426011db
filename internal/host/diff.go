package host

import (
	"context"
	"fmt"

	"ferry/internal/host/plan"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// Diff compares two generations. With one number it compares that one with the
// current, with none the one before the current with the current.
func (s *Server) Diff(ctx context.Context, n microvm.Name, numbers ...int) (*hostapi.Diff, error) {
	gens, err := s.Generations(ctx, n)
	if err != nil {
		return nil, err
	}
	d := &hostapi.Diff{VM: n, Changes: []string{}, Hardware: []string{}}
	if d.From, d.To, err = s.ends(gens, n, numbers); err != nil {
		return nil, err
	}
	if d.From.Runner == d.To.Runner {
		d.Same = true
		return d, nil
	}
	from, err := runner.Open(s.layout.Root, d.From.Runner)
	if err != nil {
		return nil, err
	}
	to, err := runner.Open(s.layout.Root, d.To.Runner)
	if err != nil {
		return nil, err
	}
	hardware, err := plan.HardwareChanges(from, to, s.layout.record(n, from.Path), s.layout.record(n, to.Path))
	if err != nil {
		return nil, err
	}
	d.Hardware = append(d.Hardware, hardware...)
	a, b := from.System, to.System
	if a == "" || b == "" {
		a, b = from.Path, to.Path
	}
	if a == b {
		d.Same = len(hardware) == 0
		return d, nil
	}
	changes, err := s.nix.DiffClosures(ctx, a, b)
	if err != nil {
		return nil, fmt.Errorf("comparing the closures: %w", err)
	}
	d.Changes = append(d.Changes, changes...)
	d.ConfigurationOnly = len(changes) == 0
	return d, nil
}

// ends finds the two generations to compare.
func (s *Server) ends(gens []hostapi.Generation, n microvm.Name, numbers []int) (from, to hostapi.Generation, err error) {
	if len(numbers) > 0 {
		from, err = pick(gens, n, numbers[0])
	} else {
		from, err = previous(gens, n, s.layout.generation(n))
	}
	if err != nil {
		return from, to, err
	}
	if len(numbers) > 1 {
		to, err = pick(gens, n, numbers[1])
		return from, to, err
	}
	for _, g := range gens {
		if g.Current {
			return from, g, nil
		}
	}
	return from, to, hostapi.Refuse(fmt.Sprintf("the current runner of %s is not one of its generations", n), has(gens, n))
}
