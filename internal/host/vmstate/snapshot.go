package vmstate

import (
	"errors"
	"io/fs"
	"os"

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

// RestoreFlake makes the `flake` file what it was.
func (v VM) RestoreFlake(b *Snapshot) error {
	if b.Flake != nil {
		return v.PutFlake(*b.Flake)
	}
	dir, err := v.Open()
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	if _, err := dir.readSmall(flakeFile, maxFlakeFile); err != nil {
		return nil // none, or not what ferry has written
	}
	return v.removeIn(flakeFile)
}
