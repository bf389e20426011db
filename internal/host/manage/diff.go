package manage

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
func (m *Machine) Diff(ctx context.Context, n microvm.Name, numbers ...int) (*hostapi.Diff, error) {
	gens, err := m.Generations(ctx, n)
	if err != nil {
		return nil, err
	}
	d := &hostapi.Diff{VM: n, Changes: []string{}, Hardware: []string{}}
	if d.From, d.To, err = m.ends(gens, n, numbers); err != nil {
		return nil, err
	}
	if d.From.Runner == d.To.Runner {
		d.Same = true
		return d, nil
	}
	from, err := runner.Open(m.see.Layout.Root, d.From.Runner)
	if err != nil {
		return nil, err
	}
	to, err := runner.Open(m.see.Layout.Root, d.To.Runner)
	if err != nil {
		return nil, err
	}
	records := m.see.VM(n).Notes()
	hardware, err := plan.HardwareChanges(from, to, records.Record(from.Path), records.Record(to.Path))
	if err != nil {
		return nil, err
	}
	d.Hardware = append(d.Hardware, hardware...)
	a, b := from.System, to.System
	if !from.SystemHere() || !to.SystemHere() { // a store disk's need not be there
		a, b = from.Path, to.Path
	}
	if a == b {
		d.Same = len(hardware) == 0
		return d, nil
	}
	changes, err := m.nix.DiffClosures(ctx, a, b)
	if err != nil {
		return nil, fmt.Errorf("comparing the closures: %w", err)
	}
	d.Changes = append(d.Changes, changes...)
	d.ConfigurationOnly = len(changes) == 0
	return d, nil
}

// ends finds the two generations to compare.
func (m *Machine) ends(gens []hostapi.Generation, n microvm.Name, numbers []int) (from, to hostapi.Generation, err error) {
	if len(numbers) > 0 {
		from, err = pick(gens, n, numbers[0])
	} else {
		from, err = previous(gens, n, m.see.VM(n).Profile().Current())
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
