package updates

import (
	"context"
	"errors"
	"maps"
	"slices"

	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/timers"
)

// guestAddress is where the system inside the one VM of a timer is.
type guestAddress struct {
	address string
	sudo    bool
}

// into checks it and adds it to the settings.
func (g guestAddress) into(u *timers.Update) error {
	switch {
	case g.address == "" && g.sudo:
		return &cmdline.UsageError{Err: errors.New("--target-sudo needs --target"), Next: "or set ferry.vms.NAME.targetSudo in the flake"}
	case g.address == "":
		return nil
	case len(u.VMs) != 1:
		return &cmdline.UsageError{Err: errors.New("--target is for one VM"), Next: "the flake's ferry.vms.NAME.target serves more"}
	}
	n, err := microvm.ParseName(u.VMs[0])
	if err != nil {
		return &cmdline.UsageError{Err: err, Next: "a VM's name comes behind HOST"}
	}
	address, err := option.TargetAddress(g.address)
	if err == nil {
		u.SetTarget(n, address, g.sudo)
	}
	return err
}

// addTargets adds what the flake says of the timer's VMs.
func addTargets(ctx context.Context, m *manage.Manager, p manage.Place, u *timers.Update) {
	vms := m.VMsOn(ctx, p)
	for _, n := range slices.Sorted(maps.Keys(vms)) {
		vm := vms[n]
		if known, _ := u.TargetOf(n); known != nil || vm.Target == nil || len(u.VMs) > 0 && !slices.Contains(u.VMs, string(n)) {
			continue
		}
		u.SetTarget(n, *vm.Target, vm.TargetSudo)
	}
}
