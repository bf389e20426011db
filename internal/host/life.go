package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Live starts, stops or restarts a VM's unit under the VM's lock, and watches
// that it stays up, or waits until all of it has ended. It works on VMs that the
// host itself declares, too. A failure names the unit to blame and shows its log.
func (s *Server) Live(ctx context.Context, n microvm.Name, verb hostapi.Action, claim hostapi.Claim, log func(string)) (*hostapi.Life, error) {
	if !slices.Contains([]hostapi.Action{hostapi.ActionStart, hostapi.ActionStop, hostapi.ActionRestart}, verb) {
		return nil, fmt.Errorf("unknown verb %q", verb)
	}
	began := time.Now().UTC()
	if _, _, err := s.existing(ctx, n); err != nil {
		return nil, err
	}
	d := hostapi.Deployment{ID: began.Format("20060102T150405") + "-" + string(verb), By: claim.By, Started: began, Action: verb}
	lock, _, err := s.layout.waitVM(ctx, n, hostapi.Lock{By: d.By, Deployment: d.ID, Since: began}, claim.Wait, log)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	vm, declaredBy, err := s.existing(ctx, n) // as it is now that nobody else works on it
	if err != nil {
		return nil, err
	}
	life := &hostapi.Life{VM: n}
	switch {
	case verb == hostapi.ActionStop:
		err = s.stopVM(ctx, vm, life, log)
	case verb == hostapi.ActionStart && vm.Unit.Up():
		life.Outcome, life.Unit = hostapi.LifeUnchanged, vm.Unit
	default:
		err = s.startVM(ctx, vm, life, verb, log)
	}
	life.Seconds = time.Since(began).Seconds()
	if after, _, serr := s.see(ctx, n); serr == nil {
		life.Booted = after.Booted
	}
	if declaredBy != "" || life.Outcome == hostapi.LifeUnchanged {
		return life, err // ferry keeps no history of VMs that are not its own
	}
	entry := hostapi.HistoryEntry{Deployment: d, Ended: time.Now().UTC(), Outcome: life.Outcome, Runner: vm.Current}
	if err != nil {
		entry.Outcome, entry.Error = "failed", err.Error()
	}
	return life, errors.Join(err, s.layout.appendHistory(n, entry))
}

func (s *Server) startVM(ctx context.Context, vm *hostapi.VMState, life *hostapi.Life, verb hostapi.Action, log func(string)) error {
	n, l := life.VM, s.layout
	how := hostapi.ActivateStart
	life.Outcome = hostapi.LifeStarted
	if verb == hostapi.ActionRestart && !vm.Unit.Stopped() {
		how, life.Outcome = hostapi.ActivateRestart, hostapi.LifeRestarted
	}
	if err := l.writeNote(n, noteToStart, time.Now()); err != nil {
		return err
	}
	unit, err := s.units.Run(ctx, n, how, log)
	if err != nil {
		return err
	}
	life.Unit = unit
	// What a live switch had brought is gone: the guest boots what is current.
	return errors.Join(l.dropRunning(n), l.dropEmptyRoots(n), l.dropNote(n, noteToStart))
}

func (s *Server) stopVM(ctx context.Context, vm *hostapi.VMState, life *hostapi.Life, log func(string)) error {
	if vm.Unit.Stopped() {
		life.Outcome, life.Unit = hostapi.LifeUnchanged, vm.Unit
		return s.layout.dropNote(life.VM, noteToStart)
	}
	ended, err := s.units.Stop(ctx, life.VM, log)
	if err != nil {
		return err
	}
	life.Outcome, life.Killed = hostapi.LifeStopped, ended.Result == "timeout"
	after, err := s.units.Unit(ctx, life.VM.Unit())
	if err != nil {
		return err
	}
	life.Unit = after.UnitState
	l := s.layout
	return errors.Join(l.dropRunning(life.VM), l.dropEmptyRoots(life.VM), l.dropNote(life.VM, noteToStart))
}

// existing is see for a VM that must be there.
func (s *Server) existing(ctx context.Context, n microvm.Name) (*hostapi.VMState, string, error) {
	vm, why, err := s.see(ctx, n)
	if err == nil && !vm.Exists {
		err = s.noVM(n)
	}
	return vm, why, err
}

const maxNames = 12 // VMs named in an error

// noVM says that the host has no such VM, and which it has.
func (s *Server) noVM(n microvm.Name) *hostapi.Failure {
	hint := "this host has no VMs"
	var names []string
	entries, _ := os.ReadDir(s.layout.StateDir)
	for _, e := range entries {
		if o, err := microvm.ParseName(e.Name()); err == nil && e.IsDir() && o != n {
			names = append(names, e.Name())
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
