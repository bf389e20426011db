package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
	"ferry/internal/trouble"
)

// Lister lists the VMs of this machine. Unlike an Observer it needs neither root
// nor a systemd that answers: what can't be read is said to be so.
type Lister struct {
	layout  vmstate.Layout
	units   unitLister
	noUnits string // why units is nil
}

// unitLister is what a Lister needs of systemd.
type unitLister interface {
	Units
	List(ctx context.Context, patterns ...string) (map[string]systemd.ListedUnit, error)
	Close()
}

// NewLister connects to systemd where that is possible.
func NewLister(ctx context.Context, layout vmstate.Layout) *Lister {
	l := &Lister{layout: layout}
	units, err := systemd.ConnectAny(ctx)
	if err != nil {
		l.noUnits = err.Error()
		return l
	}
	l.units = units
	return l
}

// Close lets go of systemd.
func (l *Lister) Close() {
	if l.units != nil {
		l.units.Close()
	}
}

// List reads links and asks systemd, once for all units and at most three times
// for each VM; it starts no process and changes nothing. The VMs are sorted by
// name. The error is a *Failure where this machine is no host.
func (l *Lister) List(ctx context.Context) ([]hostapi.Listed, error) {
	units, noUnits, err := l.askUnits(ctx, "*")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(l.layout.StateDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && noUnits != "":
		return nil, hostapi.Refuse("this machine is not a host for MicroVMs: there is no "+l.layout.StateDir+", and "+noUnits, "").About(trouble.NotAHost)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // a host without a VM
	case err != nil:
		return nil, hostapi.Refuse(fmt.Sprintf("the VMs can't be listed: %v", err), "list them as root")
	}
	var vms []hostapi.Listed
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // what ferry makes before it is renamed into place, say
		}
		vms = append(vms, l.look(ctx, e.Name(), units, noUnits))
	}
	slices.SortFunc(vms, func(a, b hostapi.Listed) int { return strings.Compare(a.Name, b.Name) })
	return vms, ctx.Err()
}

// Look is List for one VM. The error is a *Failure where there is none.
func (l *Lister) Look(ctx context.Context, n microvm.Name) (*hostapi.Listed, error) {
	units, noUnits, err := l.askUnits(ctx, string(n))
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(l.layout.VM(n).Path()); errors.Is(err, fs.ErrNotExist) {
		return nil, hostapi.Refuse(fmt.Sprintf("there is no VM %s on this machine", n), "`microvm -l` lists those there are")
	}
	v := l.look(ctx, string(n), units, noUnits)
	return &v, nil
}

// askUnits asks systemd for the units of an instance, or of all (`*`). Without a
// systemd that answers, noUnits says so.
func (l *Lister) askUnits(ctx context.Context, instance string) (units map[string]systemd.ListedUnit, noUnits string, err error) {
	if l.units == nil {
		return nil, l.noUnits, nil
	}
	if err := l.findStateDir(ctx); err != nil {
		return nil, "", err
	}
	units, err = l.units.List(ctx, "microvm@"+instance+".service", "microvm-*@"+instance+".service", "install-microvm-"+instance+".service")
	if err != nil {
		return nil, err.Error(), nil
	}
	return units, "", nil
}

// anyInstance is an instance of the unit template that need not exist: all of
// them work below the same state directory.
const anyInstance = microvm.Name("ferry")

// findStateDir asks the unit template where VMs live.
func (l *Lister) findStateDir(ctx context.Context) error {
	u, err := l.units.Unit(ctx, anyInstance.Unit())
	if err != nil {
		return err
	}
	if u.LoadState != "loaded" {
		if _, err := os.Stat(l.layout.StateDir); err == nil {
			return nil // somebody's VMs may be there all the same
		}
		return hostapi.Refuse("this machine has no microvm@.service: it is not a host for MicroVMs yet",
			"ferry host setup makes it one; on NixOS import microvm.nixosModules.host").About(trouble.NotAHost)
	}
	if dir, ok := u.StateDir(anyInstance); ok {
		l.layout.StateDir = dir
	}
	return nil
}
