package manage

import (
	"context"
	"io"

	"ferry/internal/host/inventory"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/systemd"
)

// Machine is this machine with its VMs. It is not for concurrent use.
type Machine struct {
	see   *inventory.Observer
	units Units
	nix   Nix
}

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

// Open connects to systemd and uses the machine's Nix, whose messages go to log.
func Open(ctx context.Context, layout vmstate.Layout, log io.Writer) (*Machine, error) {
	// The connection would end with its context, but what must be finished goes
	// on when this process is told to end.
	units, err := systemd.Connect(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	return New(&inventory.Observer{Layout: layout, Units: units}, units, &nix.Nix{Program: "nix", Log: log}), nil
}

// New is a Machine whose VMs are seen with see.
func New(see *inventory.Observer, units Units, nix Nix) *Machine {
	return &Machine{see: see, units: units, nix: nix}
}

// Close lets go of systemd.
func (m *Machine) Close() { m.units.Close() }
