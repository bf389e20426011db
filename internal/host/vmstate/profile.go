package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferry/internal/microvm"
)

// Profile has a VM's generations, as an ordinary profile of Nix.
type Profile struct{ vm VM }

// Path is the profile itself, for Nix.
func (p Profile) Path() string { return filepath.Join(p.dir(), "runner") }

func (p Profile) dir() string {
	return filepath.Join(p.vm.layout.Profiles, "ferry", string(p.vm.name))
}

// Make makes the directory that Nix needs.
func (p Profile) Make() error {
	if err := os.MkdirAll(p.dir(), 0o755); err != nil {
		return fmt.Errorf("making the directory of generations: %w", err)
	}
	return nil
}

// Generation is one of a profile.
type Generation struct {
	Number int
	Runner microvm.StorePath
	Made   time.Time // zero: unknown
}

// Current is the number that the profile points to; 0 where there is none.
func (p Profile) Current() int {
	target, err := os.Readlink(p.Path())
	if err != nil {
		return 0
	}
	var g int
	if _, err := fmt.Sscanf(filepath.Base(target), "runner-%d-link", &g); err != nil {
		return 0
	}
	return g
}

// Has reports whether that generation is there and of that runner.
func (p Profile) Has(number int, runner microvm.StorePath) bool {
	there, err := os.Readlink(filepath.Join(p.dir(), generationLink(number)))
	return err == nil && there == string(runner)
}

// runner is what a generation names; empty where there is no such generation.
func (p Profile) runner(number int) microvm.StorePath {
	target, err := os.Readlink(filepath.Join(p.dir(), generationLink(number)))
	if err != nil {
		return ""
	}
	runner, err := microvm.ParseStorePath(target)
	if err != nil {
		return ""
	}
	return runner
}

// Generations are those that name something in the store, in ascending order.
func (p Profile) Generations() ([]Generation, error) {
	numbers, err := p.numbers()
	if err != nil {
		return nil, fmt.Errorf("listing the generations of %s: %w", p.vm.name, err)
	}
	var gens []Generation
	for _, number := range numbers {
		link := filepath.Join(p.dir(), generationLink(number))
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		g := Generation{Number: number}
		if g.Runner, err = microvm.ParseStorePath(target); err != nil {
			continue
		}
		if fi, err := os.Lstat(link); err == nil {
			g.Made = fi.ModTime().UTC()
		}
		gens = append(gens, g)
	}
	return gens, nil
}

// numbers are those of all generations, in ascending order.
func (p Profile) numbers() ([]int, error) {
	entries, err := os.ReadDir(p.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if number, ok := generationNumber(e.Name()); ok {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Restore makes the profile what it was, except for generations of another runner
// than the deployment's: those somebody else has made since. Its links are put
// back without Nix, which may be just what doesn't work; they are those that Nix
// makes. The generation that counted is made again where it was collected and its
// runner is still there.
func (p Profile) Restore(b *Snapshot, deployed microvm.StorePath) error {
	if _, err := os.Lstat(p.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ours := func(number int) bool {
		runner, err := os.Readlink(filepath.Join(p.dir(), generationLink(number)))
		return err != nil || runner == string(deployed)
	}
	if now := p.Current(); now != b.Generation && ours(now) {
		if err := p.remake(b); err != nil {
			return err
		}
		if err := p.set(b.Generation, now); err != nil {
			return err
		}
	}
	numbers, err := p.numbers()
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if !slices.Contains(b.Generations, number) && ours(number) {
			if err := removeLink(filepath.Join(p.dir(), generationLink(number))); err != nil {
				return err
			}
		}
	}
	if len(b.Generations) == 0 {
		_ = os.Remove(p.dir())
	}
	return nil
}

// remake makes the generation that counted again, if it is gone though its runner
// is there.
func (p Profile) remake(b *Snapshot) error {
	if b.GenerationRunner == "" || p.runner(b.Generation) != "" || !p.vm.layout.Has(b.GenerationRunner) {
		return nil
	}
	name := generationLink(b.Generation)
	again := move{name: name, to: string(b.GenerationRunner), from: []string{""}, spare: "generation"}
	return again.make(p.dir())
}

// set makes the profile point to a generation instead of another; 0 is none. What
// somebody else has made of it meanwhile stays.
func (p Profile) set(number, instead int) error {
	to := move{name: filepath.Base(p.Path()), from: []string{profileTarget(instead)}, to: profileTarget(number), spare: "runner"}
	var foreign *ForeignLinkError
	if err := to.make(p.dir()); err != nil && !errors.As(err, &foreign) {
		return err
	}
	return nil
}

// profileTarget is where the profile points; empty for no generation.
func profileTarget(number int) string {
	if number == 0 {
		return ""
	}
	return generationLink(number)
}

func generationLink(number int) string { return fmt.Sprintf("runner-%d-link", number) }

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
