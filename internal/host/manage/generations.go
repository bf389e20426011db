package manage

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Generations lists a VM's generations, oldest first; empty where ferry never
// installed it.
func (m *Machine) Generations(ctx context.Context, n microvm.Name) ([]hostapi.Generation, error) {
	vm, _, err := m.see.Existing(ctx, n)
	if err != nil {
		return nil, err
	}
	return m.generations(n, vm)
}

func (m *Machine) generations(n microvm.Name, vm *hostapi.VMState) ([]hostapi.Generation, error) {
	profile := m.see.VM(n).Profile()
	all, err := profile.Generations()
	if err != nil {
		return nil, err
	}
	gens := []hostapi.Generation{}
	for _, g := range all {
		system := m.see.SystemIn(g.Runner)
		gens = append(gens, hostapi.Generation{
			Number: g.Number, Runner: g.Runner, System: system, Made: g.Made,
			Booted: g.Runner == vm.Booted, Running: system != "" && system == vm.Running,
		})
	}
	if i := currentOf(gens, vm.Current, profile.Current()); i >= 0 {
		gens[i].Current = true
	}
	return gens, nil
}

// currentOf is the index of the generation that `current` is: the profile's
// own, or else the newest with that runner; -1 where somebody else than ferry
// has installed what is current.
func currentOf(gens []hostapi.Generation, current microvm.StorePath, profile int) int {
	newest := -1
	for i, g := range gens {
		if g.Runner != current {
			continue
		}
		if g.Number == profile {
			return i
		}
		newest = i
	}
	return newest
}

// pick finds the generation with that number.
func pick(gens []hostapi.Generation, n microvm.Name, number int) (hostapi.Generation, error) {
	for _, g := range gens {
		if g.Number == number {
			return g, nil
		}
	}
	return hostapi.Generation{}, hostapi.Refuse(fmt.Sprintf("%s has no generation %d", n, number), has(gens, n))
}

// previous is the generation before the current one. Where what is current is
// no generation (somebody else than ferry installed it), that is the one that
// ferry installed last.
func previous(gens []hostapi.Generation, n microvm.Name, profile int) (hostapi.Generation, error) {
	if len(gens) == 0 {
		return hostapi.Generation{}, hostapi.Refuse(fmt.Sprintf("%s has no generations", n), has(gens, n))
	}
	i := slices.IndexFunc(gens, func(g hostapi.Generation) bool { return g.Current })
	if i > 0 {
		return gens[i-1], nil
	}
	if i < 0 {
		if last, err := pick(gens, n, profile); err == nil {
			return last, nil
		}
		return gens[len(gens)-1], nil
	}
	return hostapi.Generation{}, hostapi.Refuse(fmt.Sprintf("%s has no generation before %d, the current one", n, gens[0].Number), has(gens, n))
}

const maxNumbers = 12 // generations named in an error

func has(gens []hostapi.Generation, n microvm.Name) string {
	if len(gens) == 0 {
		return "ferry numbers the runners that it installs; this VM was installed by other means"
	}
	var numbers []string
	for _, g := range gens[max(0, len(gens)-maxNumbers):] {
		numbers = append(numbers, strconv.Itoa(g.Number))
	}
	return "it has " + strings.Join(numbers, ", ") + " (ferry generations " + string(n) + ")"
}
