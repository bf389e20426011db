package manage

import (
	"context"

	"ferry/internal/host/inventory"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Machine is this machine with its VMs. It is not for concurrent use.
type Machine struct {
	see    *inventory.Observer
	units  Units
	nix    Nix
	settle Settle
}

// Settle ends what a deployment of a VM has left, whose lock is held, before its
// unit is told what to do.
type Settle func(ctx context.Context, n microvm.Name, log func(string)) error

// Units is what a Machine needs of systemd.
type Units interface {
	inventory.Units
	Run(ctx context.Context, n microvm.Name, how hostapi.Activation, log func(string)) (hostapi.UnitState, error)
	Stop(ctx context.Context, n microvm.Name, log func(string)) (hostapi.UnitState, error)
	Disable(ctx context.Context, n microvm.Name) error
	Reload(ctx context.Context) error
	Close()
}

// Nix is what a Machine needs of the nix command line.
type Nix interface {
	DiffClosures(ctx context.Context, a, b microvm.StorePath) ([]string, error)
}

// New is a Machine whose VMs are seen with see.
func New(see *inventory.Observer, units Units, nix Nix, settle Settle) *Machine {
	return &Machine{see: see, units: units, nix: nix, settle: settle}
}

// Close lets go of systemd.
func (m *Machine) Close() { m.units.Close() }
