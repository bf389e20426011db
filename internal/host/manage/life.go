package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Live starts, stops or restarts a VM's unit under the VM's lock, and watches
// that it stays up, or waits until all of it has ended. It works on VMs that the
// host itself declares, too. A failure names the unit to blame and shows its log.
func (m *Machine) Live(ctx context.Context, n microvm.Name, verb hostapi.Action, claim hostapi.Claim, log func(string)) (*hostapi.Life, error) {
	if !slices.Contains([]hostapi.Action{hostapi.ActionStart, hostapi.ActionStop, hostapi.ActionRestart}, verb) {
		return nil, fmt.Errorf("unknown verb %q", verb)
	}
	began := time.Now().UTC()
	if _, _, err := m.see.Existing(ctx, n); err != nil {
		return nil, err
	}
	d := hostapi.Deployment{ID: began.Format("20060102T150405") + "-" + string(verb), By: claim.By, Started: began, Action: verb}
	lock, _, err := m.see.VM(n).Lock().Wait(ctx, hostapi.Lock{By: d.By, Deployment: d.ID, Since: began}, claim.Wait, log)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	vm, declaredBy, err := m.see.Existing(ctx, n) // as it is now that nobody else works on it
	if err == nil && declaredBy == "" && (verb != hostapi.ActionStart || !vm.Unit.Up()) {
		vm, err = m.settled(ctx, n, log)
	}
	if err != nil {
		return nil, err
	}
	life := &hostapi.Life{VM: n}
	switch {
	case verb == hostapi.ActionStop:
		err = m.stopVM(ctx, vm, life, log)
	case verb == hostapi.ActionStart && vm.Unit.Up():
		life.Outcome, life.Unit = hostapi.OutcomeUnchanged, vm.Unit
	default:
		err = m.startVM(ctx, vm, life, verb, log)
	}
	life.Seconds = time.Since(began).Seconds()
	if after, _, serr := m.see.See(ctx, n); serr == nil {
		life.Booted = after.Booted
	}
	if declaredBy != "" || life.Outcome == hostapi.OutcomeUnchanged {
		return life, err // ferry keeps no history of VMs that are not its own
	}
	entry := hostapi.HistoryEntry{Deployment: d, Ended: time.Now().UTC(), Outcome: life.Outcome, Runner: vm.Current, Killed: life.Unit.Killed}
	if err != nil {
		entry.Outcome, entry.Error = hostapi.OutcomeFailed, err.Error()
	}
	return life, errors.Join(err, m.see.VM(n).History().Append(entry))
}

// settled is the VM once a deployment that was left unfinished is over. Where that
// fails, the unit is told what to do all the same: whoever settles it later finds
// that somebody has.
func (m *Machine) settled(ctx context.Context, n microvm.Name, log func(string)) (*hostapi.VMState, error) {
	if err := m.settle(ctx, n, log); err != nil {
		log("an earlier deployment could not be settled: " + err.Error())
	}
	vm, _, err := m.see.Existing(ctx, n)
	return vm, err
}

func (m *Machine) startVM(ctx context.Context, vm *hostapi.VMState, life *hostapi.Life, verb hostapi.Action, log func(string)) error {
	disk := m.see.VM(life.VM)
	how := hostapi.ActivateStart
	life.Outcome = hostapi.OutcomeStarted
	if verb == hostapi.ActionRestart && !vm.Unit.Stopped() {
		how, life.Outcome = hostapi.ActivateRestart, hostapi.OutcomeRestarted
	}
	if err := disk.Notes().PutToStart(); err != nil {
		return err
	}
	unit, err := m.units.Run(ctx, life.VM, how, log)
	if err != nil {
		return err
	}
	life.Unit, life.Killed = unit, unit.Killed != ""
	// What a live switch had brought is gone: the guest boots what is current.
	return forgetStart(disk)
}

func (m *Machine) stopVM(ctx context.Context, vm *hostapi.VMState, life *hostapi.Life, log func(string)) error {
	disk := m.see.VM(life.VM)
	if vm.Unit.Stopped() {
		life.Outcome, life.Unit = hostapi.OutcomeUnchanged, vm.Unit
		return disk.Notes().DropToStart()
	}
	ended, err := m.units.Stop(ctx, life.VM, log)
	if err != nil {
		return err
	}
	life.Outcome, life.Killed = hostapi.OutcomeStopped, ended.Result == "timeout"
	after, err := m.units.Unit(ctx, life.VM.Unit())
	if err != nil {
		return err
	}
	life.Unit = after.UnitState
	life.Unit.Killed = ended.Killed
	return forgetStart(disk)
}

// forgetStart forgets what was true of the start of the unit that has ended, and that
// another one was wanted.
func forgetStart(disk vmstate.VM) error {
	return errors.Join(disk.Guest().Reset(), disk.Roots().DropEmpty(), disk.Notes().DropToStart())
}
