package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// Generations lists a VM's generations, oldest first; empty where ferry never
// installed it.
func (s *Server) Generations(ctx context.Context, n microvm.Name) ([]hostapi.Generation, error) {
	vm, _, err := s.existing(ctx, n)
	if err != nil {
		return nil, err
	}
	return s.generations(n, vm)
}

func (s *Server) generations(n microvm.Name, vm *hostapi.VMState) ([]hostapi.Generation, error) {
	dir := filepath.Dir(s.layout.profile(n))
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the generations of %s: %w", n, err)
	}
	gens := []hostapi.Generation{}
	for _, e := range entries {
		number, ok := generationNumber(e.Name())
		if !ok {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		g := hostapi.Generation{Number: number}
		if g.Runner, err = microvm.ParseStorePath(target); err != nil {
			continue
		}
		if fi, err := e.Info(); err == nil {
			g.Made = fi.ModTime().UTC()
		}
		if r, err := runner.Open(s.layout.Root, g.Runner); err == nil {
			g.System = r.System
		}
		g.Booted = g.Runner == vm.Booted
		g.Running = g.System != "" && g.System == vm.Running
		gens = append(gens, g)
	}
	slices.SortFunc(gens, func(a, b hostapi.Generation) int { return a.Number - b.Number })
	if i := currentOf(gens, vm.Current, s.layout.generation(n)); i >= 0 {
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

// generationNumber reads the name of a profile's link, as Nix writes it.
func generationNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "runner-")
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, "-link"); !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n > 0 && strconv.Itoa(n) == digits
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

func has(gens []hostapi.Generation, n microvm.Name) string {
	if len(gens) == 0 {
		return "ferry numbers the runners that it installs; this VM was installed by other means"
	}
	var numbers []string
	for _, g := range gens[max(0, len(gens)-maxNames):] {
		numbers = append(numbers, strconv.Itoa(g.Number))
	}
	return "it has " + strings.Join(numbers, ", ") + " (ferry generations " + string(n) + ")"
}
