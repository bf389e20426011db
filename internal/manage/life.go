package manage

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/deploy"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Live starts, stops or restarts a VM. wait is how long it waits for the VM's
// lock.
func (h *Host) Live(ctx context.Context, n microvm.Name, verb hostapi.Action, wait time.Duration) (hostapi.Life, error) {
	var l hostapi.Life
	req := claim(n, wait)
	c, known := map[hostapi.Action]hostapi.Commands{
		hostapi.ActionStart: {Start: &req}, hostapi.ActionStop: {Stop: &req}, hostapi.ActionRestart: {Restart: &req},
	}[verb]
	if !known {
		return l, fmt.Errorf("%s is not something that a VM does", verb)
	}
	return l, h.ask(ctx, string(n), c, &l)
}

// claim says who wants a VM's lock, and for how long they wait.
func claim(n microvm.Name, wait time.Duration) hostapi.LifeRequest {
	seconds := (wait + time.Second - 1) / time.Second
	return hostapi.LifeRequest{Name: n, By: deploy.Operator(), WaitSeconds: int(seconds)}
}

// Autostart sets whether a VM starts with its host.
func (h *Host) Autostart(ctx context.Context, n microvm.Name, on bool) (hostapi.Autostarted, error) {
	var now hostapi.Autostarted
	return now, h.ask(ctx, string(n), hostapi.Commands{Autostart: &hostapi.AutostartRequest{Name: n, On: on}}, &now)
}

// List hands on the VMs of the host.
func (h *Host) List(ctx context.Context, req hostapi.ListRequest, each func(hostapi.Listed) error) error {
	return h.stream(ctx, "", hostapi.Commands{List: &req}, kept(h, maxKept, each), nil)
}

// Logs hands on the journal of a VM.
func (h *Host) Logs(ctx context.Context, n microvm.Name, last int, follow bool, each func(hostapi.LogLine) error) error {
	lines := kept(h, last, each)
	lines.Bytes = 0 // nobody keeps them
	if follow {
		lines.Most = 0
	}
	return h.stream(ctx, string(n), hostapi.Commands{Logs: &hostapi.LogsRequest{Name: n, Lines: last, Follow: follow}}, lines, nil)
}

// History is the end of a VM's history.
func (h *Host) History(ctx context.Context, n microvm.Name, last int) (hostapi.History, error) {
	var history hostapi.History
	err := h.ask(ctx, string(n), hostapi.Commands{History: &hostapi.HistoryRequest{Name: n, Last: last}}, &history)
	if err == nil && len(history.Entries) > last {
		err = fmt.Errorf("%s was asked for %d entries of the history and answered %d", h, last, len(history.Entries))
	}
	return history, err
}

// Generations are a VM's installed runners.
func (h *Host) Generations(ctx context.Context, n microvm.Name) ([]hostapi.Generation, error) {
	var gens []hostapi.Generation
	err := h.ask(ctx, string(n), hostapi.Commands{Generations: &hostapi.GenerationsRequest{Name: n}}, &gens)
	if err == nil && len(gens) > maxKept {
		err = fmt.Errorf("%s says that %s has %d generations", h, n, len(gens))
	}
	return gens, err
}

// Diff compares two generations; see hostapi.DiffRequest.
func (h *Host) Diff(ctx context.Context, n microvm.Name, numbers ...int) (hostapi.Diff, error) {
	var d hostapi.Diff
	return d, h.ask(ctx, string(n), hostapi.Commands{Diff: &hostapi.DiffRequest{Name: n, Generations: numbers}}, &d)
}

// LookRemove tells what there is of a VM to be removed.
func (h *Host) LookRemove(ctx context.Context, n microvm.Name) (hostapi.Removal, error) {
	return h.remove(ctx, hostapi.RemoveRequest{LifeRequest: claim(n, 0), Look: true})
}

// Remove stops a VM and removes all of it, but for its data with keepData.
func (h *Host) Remove(ctx context.Context, n microvm.Name, keepData bool, wait time.Duration) (hostapi.Removal, error) {
	return h.remove(ctx, hostapi.RemoveRequest{LifeRequest: claim(n, wait), KeepData: keepData})
}

func (h *Host) remove(ctx context.Context, req hostapi.RemoveRequest) (hostapi.Removal, error) {
	var r hostapi.Removal
	return r, h.ask(ctx, string(req.Name), hostapi.Commands{Remove: &req}, &r)
}

// VM is what the flake's `ferry` output says of a VM; nothing where it does not,
// or can't be asked.
func (m *Manager) VM(ctx context.Context, n microvm.Name) flake.VM {
	if !m.hasFlake() {
		return flake.VM{}
	}
	fleet, err := m.Fleet(ctx)
	if err != nil {
		m.Report.Warn("the flake could not be asked for what it says of %s: %s", n, firstLine(err.Error()))
		return flake.VM{}
	}
	return fleet.VMs[n]
}

// VMsOn is what the flake's `ferry` output says of the VMs of a host.
func (m *Manager) VMsOn(ctx context.Context, p Place) map[microvm.Name]flake.VM {
	if !m.hasFlake() {
		return nil
	}
	if _, err := m.Fleet(ctx); err != nil {
		m.Report.Warn("the flake could not be asked for what it says of the VMs of %s: %s", p, firstLine(err.Error()))
		return nil
	}
	vms := map[microvm.Name]flake.VM{}
	for _, n := range m.ours(p) {
		vms[n] = m.fleet.VMs[n]
	}
	return vms
}

// RecordedTarget is the address of the guest in the last deployment that knew
// it, from the VM's history on the host; nil where none did.
func (h *Host) RecordedTarget(ctx context.Context, n microvm.Name) (*microvm.Address, error) {
	var recorded string
	if err := h.ask(ctx, string(n), hostapi.Commands{Target: &hostapi.TargetRequest{Name: n}}, &recorded); err != nil {
		return nil, err
	}
	if recorded == "" {
		return nil, nil
	}
	a, err := microvm.ParseAddress(recorded)
	if err != nil || a.Local {
		return nil, fmt.Errorf("the target that %s has recorded is not an address: %.80q", h, recorded)
	}
	return &a, nil
}
