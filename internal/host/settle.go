package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// settling says how a deployment is settled.
type settling struct {
	// booting: the machine has just started and no VM runs, so units are left
	// alone.
	booting bool
	// again: what does not start is tried again later. Otherwise it is settled
	// all the same, so that the next deployment can be better.
	again bool
	// sparing: a VM that runs is neither stopped nor restarted.
	sparing bool
	log     func(string)
}

// settle ends a deployment that its session left unfinished, under the VM's
// lock: what is reversible is undone, what is not is finished.
func (s *Server) settle(ctx context.Context, n microvm.Name, left *unfinished, how settling) error {
	l := s.layout
	if l.recorded(n, left.ID) { // killed between the entry and the end
		return l.forget(n)
	}
	how.log("deployment " + left.ID + " by " + left.By + " was interrupted")
	entry, err := s.carryOut(ctx, n, left, how)
	if err != nil {
		return err
	}
	entry.Ended = time.Now().UTC()
	return l.close(n, entry)
}

// carryOut does what the verdict on the deployment says, and tells it to the
// history.
func (s *Server) carryOut(ctx context.Context, n microvm.Name, left *unfinished, how settling) (hostapi.HistoryEntry, error) {
	entry := hostapi.HistoryEntry{Deployment: left.Deployment, Outcome: hostapi.OutcomeInterrupted, Runner: left.Runner}
	vm, err := s.locate(ctx, n)
	if err != nil {
		return entry, err
	}
	if left.Phase == hostapi.PhaseDone {
		entry.Outcome, entry.Error = left.Outcome, left.Why
		return entry, nil
	}
	if left.Why == "" {
		left.Why = "it was interrupted"
	}
	switch left.judge(vm.Current, how.sparing && vm.Unit.Runs()) {
	case verdictSuperseded:
		entry.Error, entry.Settled = left.Why+"; "+supersededBy(vm.Current), hostapi.SettledSuperseded
		err = s.keepGuest(ctx, n, left)
	case verdictUnconfirmed:
		entry.Error, entry.Settled = left.Why+"; its runner is current, but nobody has confirmed it; what runs was not touched", hostapi.SettledUnconfirmed
	case verdictLinks:
		entry.Error, entry.Settled = left.Why+"; the previous runner is current, and what runs was not touched", hostapi.SettledUnconfirmed
		if left.Phase == hostapi.PhaseCommit { // nobody had touched the unit yet
			entry.Settled = hostapi.SettledUndone
		}
		err = errors.Join(s.undoLinks(n, left), s.undoToStart(n, left))
	case verdictUndo:
		err = s.undoLate(ctx, n, left, how, &entry)
	case verdictFinish:
		entry.Error, entry.Settled = "the host finished the installation", hostapi.SettledFinished
		err = s.finishCommit(ctx, n, left)
	}
	return entry, err
}

// undoLate undoes a deployment that its session can't undo any more.
func (s *Server) undoLate(ctx context.Context, n microvm.Name, left *unfinished, how settling, entry *hostapi.HistoryEntry) error {
	if left.Phase == hostapi.PhaseAwait && !how.booting {
		left.Why = "nobody has confirmed it by " + left.Deadline.Local().Format(time.TimeOnly)
		entry.Outcome = hostapi.OutcomeRolledBack
	}
	state, err := s.undoFor(how.booting)(ctx, n, left, how.log)
	var down *stillDownError
	if errors.As(err, &down) && !how.again {
		state, err = down.Error(), nil
	}
	if how.booting {
		state = "the previous runner is current again"
	}
	entry.Error, entry.Settled = left.Why+"; "+state, hostapi.SettledUndone
	return err
}

// finishCommit does the rest of a commit that is not undone.
func (s *Server) finishCommit(ctx context.Context, n microvm.Name, left *unfinished) error {
	if err := s.keepGuest(ctx, n, left); err != nil {
		return err
	}
	if err := s.install(ctx, *left.Commit); err != nil {
		return err
	}
	if left.Commit.Activation == hostapi.ActivateLive {
		return s.layout.settled(n)
	}
	return nil
}

// keepGuest keeps what a live switch has brought into the guest as long as that
// runs: in the same start of the unit.
func (s *Server) keepGuest(ctx context.Context, n microvm.Name, left *unfinished) error {
	system := left.Commit.GuestSystem
	if system == "" {
		return nil
	}
	unit, err := s.units.Unit(ctx, n.Unit())
	if err != nil {
		return err
	}
	id := left.Before.Unit.InvocationID
	if !unit.Up() || unit.InvocationID != id {
		return nil
	}
	note := runningNote{InvocationID: id, System: system}
	return step.Do(step.Running, func() error { return s.rootRunning(ctx, n, note) })
}

func (s *Server) undoFor(booting bool) func(context.Context, microvm.Name, *unfinished, func(string)) (string, error) {
	if !booting {
		return s.undo
	}
	return (&Server{layout: s.layout, nix: s.nix, units: resting{s.units}}).undo
}

// resting is systemd while the machine boots: VMs are about to be started by it,
// with what `current` is by then.
type resting struct{ unitManager }

func (resting) Run(context.Context, microvm.Name, hostapi.Activation, func(string)) (hostapi.UnitState, error) {
	return hostapi.UnitState{ActiveState: "inactive"}, nil
}

func (resting) Stop(context.Context, microvm.Name, func(string)) (hostapi.UnitState, error) {
	return hostapi.UnitState{ActiveState: "inactive"}, nil
}

// close writes the deployment into the history, then forgets it.
func (l Layout) close(n microvm.Name, entry hostapi.HistoryEntry) error {
	if err := step.Do(step.History, func() error { return l.appendHistory(n, entry) }); err != nil {
		return err
	}
	return step.Do(step.Forget, func() error { return l.forget(n) })
}

// forget drops what only a deployment under way needs.
func (l Layout) forget(n microvm.Name) error {
	return errors.Join(l.dropPending(n), l.dropNote(n, noteDeployment), l.dropEmptyRoots(n))
}

// recorded reports whether the deployment is the history's last entry.
func (l Layout) recorded(n microvm.Name, id string) bool {
	h, err := l.History(n, 1)
	return err == nil && len(h.Entries) > 0 && h.Entries[len(h.Entries)-1].ID == id
}

// keepUnsure keeps what an interrupted live switch may have left running.
func (s *session) keepUnsure(n microvm.Name, vm *hostapi.VMState, left *unfinished) error {
	if !left.Activating || left.Phase == hostapi.PhaseDone || left.Phase == hostapi.PhaseCommit || !vm.Unit.Up() {
		return nil
	}
	l := s.srv.layout
	note := unsureNote{InvocationID: vm.Unit.InvocationID, Runner: left.Runner}
	return errors.Join(replaceLink(l.ferryRoots(n), "interrupted", string(left.Runner)), l.writeNote(n, noteUnsure, note))
}

// Settle ends all deployments that were left unfinished, as at the start of the
// machine. VMs that somebody works on are left to them.
func (s *Server) Settle(ctx context.Context, booting bool, log func(n microvm.Name, line string)) error {
	entries, err := os.ReadDir(filepath.Join(s.layout.Lib, "vms"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing ferry's notes: %w", err)
	}
	var failed error
	for _, e := range entries {
		n, nerr := microvm.ParseName(e.Name())
		if nerr != nil {
			continue
		}
		if serr := s.settleOne(ctx, n, "", settling{booting: booting, log: func(line string) { log(n, line) }}); serr != nil {
			if errors.Is(serr, errBusy) {
				log(n, "a deployment is under way")
				continue
			}
			failed = errors.Join(failed, fmt.Errorf("%s: %w", n, serr))
		}
	}
	return failed
}

// settleOne settles a VM's deployment if nobody holds its lock and no answer is
// awaited any more; with id only that one.
func (s *Server) settleOne(ctx context.Context, n microvm.Name, id string, how settling) error {
	l := s.layout
	var left unfinished
	if l.readNote(n, noteDeployment, &left) != nil || (id != "" && left.ID != id) {
		return nil
	}
	lock, err := l.lockVM(ctx, n, hostapi.Lock{By: left.By, Deployment: left.ID, Since: left.Started})
	if err != nil {
		if f := (*hostapi.Failure)(nil); errors.As(err, &f) && f.Kind == hostapi.KindLocked {
			return errBusy
		}
		return err
	}
	defer lock.release()
	if l.readNote(n, noteDeployment, &left) != nil || (id != "" && left.ID != id) {
		return nil
	}
	vm, err := s.locate(ctx, n) // it also finds the state directory
	if err != nil {
		return err
	}
	if how.booting = how.booting && !vm.Unit.Up(); !how.booting {
		switch {
		case left.awaits() > 0:
			return errBusy
		case left.Activating && left.Phase == "" && vm.Unit.Up():
			return nil // only who asks the guest can settle it
		}
	}
	return s.settle(ctx, n, &left, how)
}

// errBusy: somebody works on the VM.
var errBusy = errors.New("somebody works on it")
