package deploy

import (
	"ferry/internal/flake"
	"ferry/internal/hostapi"
)

// fromFleet fills in what the command line left open from the flake's `ferry`
// output.
func (d *deployment) fromFleet(f flake.Fleet) {
	vm := f.VMs[d.req.Attribute]
	if h, ok := f.HostOf(d.req.Attribute); ok && d.req.Host == nil {
		d.req.Host = &h.Address
		d.req.HostSudo = d.req.HostSudo || h.Sudo
	}
	if d.req.Target == nil && vm.Target != nil {
		d.req.Target = vm.Target
		d.req.TargetSudo = d.req.TargetSudo || vm.TargetSudo
	}
	if d.req.Restart == "" {
		d.req.Restart = hostapi.RestartPolicy(vm.Restart)
	}
	if d.req.Restart == "" {
		d.req.Restart = hostapi.RestartAuto
	}
	if d.req.UpdateFlake == "" {
		d.req.UpdateFlake = vm.UpdateFlake
	}
	if d.req.Building.On == nil {
		d.req.Building.On = f.BuildOn(d.req.Attribute)
	}
	d.req.Confirm = d.req.Confirm.Or(vm.Health)
}

// Or fills in what the command line left open from what the flake says (nil:
// nothing): a check of the command line replaces all of its kind.
func (c Confirm) Or(h *flake.Health) Confirm {
	if h == nil {
		return c
	}
	c.Checks = c.Checks.Or(h.Checks)
	if c.Command == "" {
		c.Command = h.Command
	}
	if c.Timeout == 0 {
		c.Timeout = h.Timeout
	}
	return c
}
