package manage

import (
	"context"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Autostart makes a VM start with its host, or not: by a link below
// microvms.target, so no rebuild of the host is needed. What runs now is not
// touched. A host whose units its own configuration makes is refused.
func (m *Machine) Autostart(ctx context.Context, n microvm.Name, on bool) (*hostapi.Autostarted, error) {
	vm, err := m.see.Locate(ctx, n)
	if err != nil {
		return nil, err
	}
	if on && !vm.Exists {
		return nil, m.see.NoVM(n)
	}
	if err := m.ownUnits(ctx); err != nil {
		return nil, err
	}
	place := m.see.VM(n).Autostart()
	now, err := place.On()
	if err != nil {
		return nil, err
	}
	answer := &hostapi.Autostarted{VM: n, On: on, Changed: now != on}
	if now == on {
		return answer, nil
	}
	if err := place.Set(on); err != nil {
		return nil, err
	}
	return answer, m.units.Reload(ctx)
}

// ownUnits refuses a host where links of ours among the units would not last.
func (m *Machine) ownUnits(ctx context.Context) error {
	target, err := m.units.Unit(ctx, vmstate.AutostartTarget)
	if err != nil {
		return err
	}
	if target.LoadState != "loaded" {
		return hostapi.Refuse("this host has no "+vmstate.AutostartTarget, "set it up with `ferry host setup`")
	}
	return m.see.Layout.OwnUnits()
}
