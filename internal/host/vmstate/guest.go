package vmstate

import (
	"errors"
	"path/filepath"

	"ferry/internal/microvm"
)

// Guest is what the host notes of the system inside a VM that was switched live.
// All of it counts for one start of the VM's unit: after a restart the guest runs
// what it booted.
type Guest struct{ vm VM }

// Running says what system a guest runs since a live switch.
type Running struct {
	InvocationID string            `json:"invocationId"` // of the unit's start
	System       microvm.StorePath `json:"system"`
	Failed       bool              `json:"failed,omitempty"` // the switch to it did
}

// Unsure is what an interrupted live switch may have left running. The root
// `interrupted` keeps it until the guest was seen or the VM has booted again.
type Unsure struct {
	InvocationID string            `json:"invocationId"` // of the unit's start
	Runner       microvm.StorePath `json:"runner"`
}

// Root is the root that keeps the system of Running, for Nix to make; see
// MakeRoots.
func (g Guest) Root() string { return filepath.Join(g.vm.Roots().Path(), "running") }

// MakeRoots makes the directory that Root is in.
func (g Guest) MakeRoots() error { return g.vm.Roots().make() }

// Running is what was noted last, whatever start of the unit it is of. The error
// is fs.ErrNotExist where nothing was.
func (g Guest) Running() (Running, error) {
	var r Running
	err := g.vm.Notes().read(noteRunning, &r)
	return r, err
}

// PutRunning notes what the guest runs, which Root must keep.
func (g Guest) PutRunning(r Running) error { return g.vm.Notes().write(noteRunning, r) }

// Unsure is the last interrupted switch, whatever start of the unit it is of. The
// error is fs.ErrNotExist where none was left.
func (g Guest) Unsure() (Unsure, error) {
	var u Unsure
	err := g.vm.Notes().read(noteUnsure, &u)
	return u, err
}

// PutUnsure keeps what an interrupted live switch may have left running.
func (g Guest) PutUnsure(u Unsure) error {
	return errors.Join(replaceLink(g.vm.Roots().Path(), "interrupted", string(u.Runner)), g.vm.Notes().write(noteUnsure, u))
}

// IsUnsure reports whether the last live switch in this start of the unit was
// interrupted, and not settled since.
func (g Guest) IsUnsure(invocation string) bool {
	if left := g.vm.Notes().Left(); left != nil && left.Activating {
		return true
	}
	u, err := g.Unsure()
	return err == nil && u.InvocationID == invocation
}

// Settle forgets an interrupted live switch.
func (g Guest) Settle() error {
	return errors.Join(removeLink(filepath.Join(g.vm.Roots().Path(), "interrupted")), g.vm.Notes().drop(noteUnsure))
}

// Reset forgets live switches once the VM boots what is installed.
func (g Guest) Reset() error {
	return errors.Join(removeLink(g.Root()), g.vm.Notes().drop(noteRunning), g.Settle())
}
