package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/host/settle"
	"ferry/internal/host/step"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// settling ends a deployment that its session left unfinished, under the VM's
// lock.
type settling struct {
	srv  *Server
	vm   vmstate.VM
	note *vmstate.Note
	by   settle.Settler
	// again: what does not start is tried again later. Otherwise it is settled
	// all the same, so that the next deployment can be better.
	again bool
	log   func(string)
}

func (s *Server) settling(vm vmstate.VM, left *vmstate.Note, by settle.Settler, log func(string)) settling {
	return settling{srv: s, vm: vm, note: left, by: by, log: log}
}

// settle does what the verdict on the deployment says, and tells it to the
// history.
func (s settling) settle(ctx context.Context) error {
	seen, err := s.srv.see.Locate(ctx, s.vm.Name())
	if err != nil {
		return err
	}
	s.vm = s.srv.see.VM(s.vm.Name()) // in the state directory that was found
	if err := s.note.LastResort.PutBack(s.vm, seen.Current); err != nil {
		return err
	}
	verdict := settle.Judge(s.note, settle.World{Now: time.Now(), Current: seen.Current, Unit: seen.Unit}, s.by)
	switch verdict {
	case settle.Wait:
		return errBusy
	case settle.AskGuest:
		return nil
	}
	if last := s.vm.History().Last(); last != nil && last.ID == s.note.ID { // killed between the entry and the end
		return s.vm.Forget()
	}
	s.log("deployment " + s.note.ID + " by " + s.note.By + " was interrupted")
	entry := hostapi.HistoryEntry{Deployment: s.note.Deployment, Outcome: hostapi.OutcomeInterrupted, Runner: s.note.Runner}
	if err := s.carryOut(ctx, verdict, seen.Current, &entry); err != nil {
		return err
	}
	entry.Ended = time.Now().UTC()
	return closeDeployment(s.vm, entry)
}

// carryOut does what a verdict says, and completes the entry of the history.
func (s settling) carryOut(ctx context.Context, verdict settle.Verdict, current microvm.StorePath, entry *hostapi.HistoryEntry) error {
	if verdict == settle.Close {
		entry.Outcome, entry.Error = s.note.Outcome, s.note.Why
		return nil
	}
	if s.note.Why == "" {
		s.note.Why = "it was interrupted"
	}
	switch verdict {
	case settle.Superseded:
		entry.Error, entry.Settled = s.note.Why+"; "+settle.SupersededBy(current), hostapi.SettledSuperseded
		return s.keepGuest(ctx)
	case settle.Unconfirmed:
		entry.Error, entry.Settled = s.note.Why+"; its runner is current, but nobody has confirmed it; what runs was not touched", hostapi.SettledUnconfirmed
	case settle.Links:
		entry.Error, entry.Settled = s.note.Why+"; the previous runner is current, and what runs was not touched", hostapi.SettledUnconfirmed
		if s.note.Phase == hostapi.PhaseCommit { // nobody had touched the unit yet
			entry.Settled = hostapi.SettledUndone
		}
		undo := s.undoing(s.srv.units)
		return errors.Join(undo.links(), undo.toStart())
	case settle.Undo:
		return s.undoLate(ctx, entry)
	case settle.UndoAtRest:
		_, err := s.undoing(resting{s.srv.units}).run(ctx)
		entry.Error, entry.Settled = s.note.Why+"; the previous runner is current again", hostapi.SettledUndone
		return err
	case settle.Finish:
		entry.Error, entry.Settled = "the host finished the installation", hostapi.SettledFinished
		return s.finishCommit(ctx)
	}
	return nil
}

func (s settling) undoing(units unitManager) undoing {
	return undoing{vm: s.vm, units: units, note: s.note, log: s.log}
}

// undoLate undoes a deployment that its session can't undo any more.
func (s settling) undoLate(ctx context.Context, entry *hostapi.HistoryEntry) error {
	if s.note.Phase == hostapi.PhaseAwait {
		s.note.Why = "nobody has confirmed it by " + s.note.Deadline.Local().Format(time.TimeOnly)
		entry.Outcome = hostapi.OutcomeRolledBack
	}
	state, err := s.undoing(s.srv.units).run(ctx)
	var down *stillDownError
	if errors.As(err, &down) && !s.again {
		state, err = down.Error(), nil
	}
	entry.Error, entry.Settled = s.note.Why+"; "+state, hostapi.SettledUndone
	return err
}

// finishCommit does the rest of a commit that is not undone.
func (s settling) finishCommit(ctx context.Context) error {
	if err := s.keepGuest(ctx); err != nil {
		return err
	}
	install := installation{vm: s.vm, nix: s.srv.nix, req: *s.note.Commit}
	if err := install.run(ctx); err != nil {
		return err
	}
	if s.note.Commit.Activation == hostapi.ActivateLive {
		return s.vm.Guest().Settle()
	}
	return nil
}

// keepGuest keeps what a live switch has brought into the guest as long as that
// runs: in the same start of the unit.
func (s settling) keepGuest(ctx context.Context) error {
	system := s.note.Commit.GuestSystem
	if system == "" {
		return nil
	}
	unit, err := s.srv.units.Unit(ctx, s.vm.Name().Unit())
	if err != nil {
		return err
	}
	id := s.note.Before.Unit.InvocationID
	if !unit.Up() || unit.InvocationID != id {
		return nil
	}
	now := vmstate.Running{InvocationID: id, System: system}
	return step.Do(step.Running, func() error { return keepRunning(ctx, s.srv.nix, s.vm.Guest(), now) })
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

// Settle ends all deployments that were left unfinished, as at the start of the
// machine. VMs that somebody works on are left to them.
func (s *Server) Settle(ctx context.Context, booting bool, log func(n microvm.Name, line string)) error {
	vms, err := s.see.Layout.Noted()
	if err != nil {
		return err
	}
	by := settle.Guard
	if booting {
		by = settle.Boot
	}
	var failed error
	for _, vm := range vms {
		n := vm.Name()
		err := s.settleOne(ctx, n, "", settling{by: by, log: func(line string) { log(n, line) }})
		switch {
		case errors.Is(err, errBusy):
			log(n, "a deployment is under way")
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("%s: %w", n, err))
		}
	}
	return failed
}

// settleOne settles a VM's deployment if nobody holds its lock and no answer is
// awaited any more; with id only that one.
func (s *Server) settleOne(ctx context.Context, n microvm.Name, id string, how settling) error {
	vm := s.see.VM(n)
	left := vm.Notes().Left()
	if left == nil || (id != "" && left.ID != id) {
		return nil
	}
	lock, err := vm.Lock().Take(ctx, hostapi.Lock{By: left.By, Deployment: left.ID, Since: left.Started})
	if err != nil {
		if f := (*hostapi.Failure)(nil); errors.As(err, &f) && f.Kind == hostapi.KindLocked {
			return errBusy
		}
		return err
	}
	defer lock.Release()
	if left = vm.Notes().Left(); left == nil || (id != "" && left.ID != id) {
		return nil
	}
	how.srv, how.vm, how.note = s, vm, left
	return how.settle(ctx)
}

// errBusy: somebody works on the VM.
var errBusy = errors.New("somebody works on it")
