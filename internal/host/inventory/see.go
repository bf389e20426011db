package inventory

import (
	"context"
	"fmt"
	"strings"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
	"ferry/internal/systemd"
	"ferry/internal/trouble"
)

// Observer reads how single VMs are, for who may change them. It is not for
// concurrent use.
type Observer struct {
	// Layout has the state directory that systemd names, once a VM was seen.
	Layout vmstate.Layout
	Units  Units
}

// Units is what an Observer needs of systemd.
type Units interface {
	Unit(ctx context.Context, name string) (systemd.Unit, error)
	DeclaredBy(ctx context.Context, n microvm.Name) (string, error)
}

// VM is the VM on disk, in the state directory that was seen last.
func (o *Observer) VM(n microvm.Name) vmstate.VM { return o.Layout.VM(n) }

// Locate is See for what may change a VM's links: it refuses a VM that the host
// itself declares.
func (o *Observer) Locate(ctx context.Context, n microvm.Name) (*hostapi.VMState, error) {
	vm, why, err := o.See(ctx, n)
	if err == nil && why != "" {
		return nil, declared(n, why)
	}
	return vm, err
}

// Existing is See for a VM that must be there.
func (o *Observer) Existing(ctx context.Context, n microvm.Name) (*hostapi.VMState, string, error) {
	vm, why, err := o.See(ctx, n)
	if err == nil && !vm.Exists {
		err = o.NoVM(n)
	}
	return vm, why, err
}

// See finds the state directory and reads a VM's links and unit; why says by
// what the host itself declares the VM, empty where it does not. A machine that
// has no MicroVM units is refused.
func (o *Observer) See(ctx context.Context, n microvm.Name) (vm *hostapi.VMState, why string, err error) {
	if _, err := microvm.ParseName(string(n)); err != nil {
		return nil, "", hostapi.Refuse(err.Error(), "")
	}
	unit, err := o.Units.Unit(ctx, n.Unit())
	if err != nil {
		return nil, "", err
	}
	if unit.LoadState != "loaded" {
		return nil, "", hostapi.Refuse("this machine has no microvm@.service: it is not a host for MicroVMs yet",
			"import microvm.nixosModules.host on NixOS, elsewhere run `ferry host setup`").About(trouble.NotAHost)
	}
	if dir, ok := unit.StateDir(n); ok {
		o.Layout.StateDir = dir
	}
	dir, err := o.VM(n).Open()
	if err != nil {
		return nil, "", err
	}
	defer dir.Close()
	vm = &hostapi.VMState{Unit: unit.UnitState}
	for name, p := range map[string]*microvm.StorePath{"current": &vm.Current, "old": &vm.Old, "booted": &vm.Booted} {
		if *p, err = dir.Link(name); err != nil {
			return nil, "", err
		}
	}
	vm.Exists = vm.Current != ""
	vm.ToStart = o.VM(n).Notes().ToStart(unit.Since)
	if dir != nil {
		if dir.HasToplevel() {
			why = "its directory has a `toplevel` link"
		}
		// One that can't be used counts as none: a deployment may replace it.
		vm.Flake, _ = dir.Flake()
	}
	if unit, err := o.Units.DeclaredBy(ctx, n); err != nil {
		return nil, "", err
	} else if unit != "" {
		why = unit + " links `current` again at every rebuild of the host"
	}
	vm.Running, vm.Unsure = o.running(n, vm)
	return vm, why, nil
}

func declared(n microvm.Name, why string) *hostapi.Failure {
	return hostapi.Refuse(fmt.Sprintf("%s is declared by the host's own NixOS configuration (%s)", n, why),
		"deploy the host instead, or take the VM out of its microvm.vms (or give it an updateFlake)").About(trouble.DeclaredByHost)
}

// running is the system that a VM's guest runs as far as the host knows, and
// whether the last switch to it may have failed.
func (o *Observer) running(n microvm.Name, vm *hostapi.VMState) (system microvm.StorePath, unsure bool) {
	if !vm.Unit.Up() {
		return "", false
	}
	guest := o.VM(n).Guest()
	unsure = guest.IsUnsure(vm.Unit.InvocationID)
	if now, err := guest.Running(); err == nil && now.InvocationID == vm.Unit.InvocationID && now.InvocationID != "" {
		return now.System, unsure || now.Failed
	}
	return o.SystemIn(vm.Booted), unsure
}

// SystemIn is the system in a runner; empty where that can't be told.
func (o *Observer) SystemIn(p microvm.StorePath) microvm.StorePath {
	if p == "" {
		return ""
	}
	r, err := runner.Open(o.Layout.Root, p)
	if err != nil {
		return ""
	}
	return r.System
}

const maxNames = 12 // VMs named in an error

// NoVM says that the host has no such VM, and which it has.
func (o *Observer) NoVM(n microvm.Name) *hostapi.Failure {
	hint := "this host has no VMs"
	var names []string
	all, _ := o.Layout.Names()
	for _, other := range all {
		if other != n {
			names = append(names, string(other))
		}
	}
	if len(names) > maxNames {
		names = append(names[:maxNames], "…")
	}
	if len(names) > 0 {
		hint = "it has " + strings.Join(names, ", ")
	}
	return hostapi.Refuse(fmt.Sprintf("there is no VM %s on this host", n), hint)
}
