package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// Snapshot is a VM as it was before a deployment changed it.
type Snapshot struct {
	Directory  bool              `json:"directory"` // the VM's directory was there
	Current    microvm.StorePath `json:"current,omitempty"`
	Old        microvm.StorePath `json:"old,omitempty"`
	Booted     microvm.StorePath `json:"booted,omitempty"`
	Generation int               `json:"generation,omitempty"` // the profile's; 0: none
	// GenerationRunner is that generation's.
	GenerationRunner microvm.StorePath `json:"generationRunner,omitempty"`
	// Generations are the numbers of all.
	Generations []int             `json:"generations,omitempty"`
	Flake       *string           `json:"flake,omitempty"` // nil: there was no such file
	ToStart     bool              `json:"toStart,omitempty"`
	Unit        hostapi.UnitState `json:"unit"`
	// Switched: the guest had been switched live to the system of Current.
	Switched bool `json:"switched,omitempty"`
}

// Boots is the runner that the unit is to be started with when all is undone:
// the one that ran, which is not always the one that was installed.
func (b *Snapshot) Boots() microvm.StorePath {
	if b.Unit.Up() && b.Booted != "" && !b.Switched {
		return b.Booted
	}
	return b.Current
}

// Runners are what an undo may start or link again, each once.
func (b *Snapshot) Runners() []microvm.StorePath {
	return once(b.Boots(), b.Booted, b.Current, b.Old, b.GenerationRunner)
}

func once(paths ...microvm.StorePath) []microvm.StorePath {
	var all []microvm.StorePath
	for _, p := range paths {
		if p != "" && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// Startable is the runner that an undo starts: Boots, or the next best where that
// is gone from the store. It is empty where none is left.
func (v VM) Startable(b *Snapshot) microvm.StorePath {
	for _, p := range once(b.Boots(), b.Booted, b.Current, b.Old) {
		if v.CanStart(p) {
			return p
		}
	}
	return ""
}

// CanStart reports whether a runner is in the store.
func (v VM) CanStart(runner microvm.StorePath) bool {
	return runner != "" && v.layout.Has(runner+"/bin/microvm-run")
}

// Booted is what the link of that name says; empty where it says nothing.
func (v VM) Booted() microvm.StorePath {
	dir, err := v.Open()
	if err != nil {
		return ""
	}
	defer dir.Close()
	booted, err := dir.Link("booted")
	if err != nil {
		return ""
	}
	return booted
}

// Snapshot reads what a deployment may change; the links and the unit have just
// been seen.
func (v VM) Snapshot(seen hostapi.VMState) (*Snapshot, error) {
	b := &Snapshot{
		Current: seen.Current, Old: seen.Old, Booted: seen.Booted, Unit: seen.Unit, ToStart: seen.ToStart,
		Generation: v.Profile().Current(),
	}
	if _, err := os.Lstat(v.Path()); err == nil {
		b.Directory = true
	}
	b.GenerationRunner = v.Profile().runner(b.Generation)
	var err error
	if b.Generations, err = v.Profile().numbers(); err != nil {
		return nil, err
	}
	if seen.Current != "" && seen.Running != "" {
		if r, err := runner.Open(v.layout.Root, seen.Current); err == nil {
			b.Switched = r.System == seen.Running
		}
	}
	dir, err := v.Open()
	if err != nil || dir == nil {
		return b, err
	}
	defer dir.Close()
	var notOurs *notOursError
	switch content, err := dir.readSmall(flakeFile, maxFlakeFile); {
	case err == nil:
		text := string(content)
		b.Flake = &text
	case !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &notOurs): // which must never come back as root's
		return nil, err
	}
	return b, nil
}

// RestoreFlake makes the `flake` file what it was, where it is what the deployment
// has made of it. The file for that was written before.
func (v VM) RestoreFlake(b *Snapshot, deployed string) error {
	if deployed == "" {
		return nil
	}
	dir, err := v.Open()
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	now, err := dir.readSmall(flakeFile, maxFlakeFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && b.Flake == nil:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil // not what ferry has written
	case err == nil && string(now) != deployed: // as it was, or somebody else's
		return nil
	case b.Flake == nil:
		return v.removeIn(flakeFile)
	}
	for _, spare := range spares(dir.root, flakeFile) {
		if content, err := dir.readSmall(spare, maxFlakeFile); err != nil || string(content) != *b.Flake {
			continue
		}
		if err := dir.root.Rename(spare, flakeFile); err != nil {
			return fmt.Errorf("putting back %s: %w", dir.Path(flakeFile), err)
		}
		return syncDir(dir.root)
	}
	return v.PutFlake(*b.Flake)
}
