package unfinished

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"ferry/internal/host/install"
	"ferry/internal/host/inventory"
	"ferry/internal/host/prove"
	"ferry/internal/host/settle"
	"ferry/internal/host/step"
	"ferry/internal/host/undo"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// Host is a machine whose deployments may have been left unfinished.
type Host struct {
	See   *inventory.Observer
	Units undo.Units
	Nix   install.Nix
}

// Settling ends a deployment that its session left unfinished, under the VM's
// lock.
type Settling struct {
	host Host
	vm   vmstate.VM
	note *vmstate.Note
	By   settle.Settler
	// Choice is what becomes of what nobody has confirmed; empty: it is kept where
	// the checks hold.
	Choice hostapi.SettleChoice
	// Started remembers, from try to try, how the start of what ran before has
	// ended; nil where there is one try.
	Started *vmstate.UndoStart
	Log     func(string)
}

// Settling ends one deployment, by its note.
func (h Host) Settling(vm vmstate.VM, left *vmstate.Note, by settle.Settler, log func(string)) Settling {
	return Settling{host: h, vm: vm, note: left, By: by, Log: log}
}

// World is a VM as it has just been seen, for judging a note.
func (h Host) World(seen *hostapi.VMState) settle.World {
	return settle.World{Now: h.See.Layout.Now(), Current: seen.Current, Booted: seen.Booted, Unit: seen.Unit}
}

// Settle does what the verdict on the deployment says, and tells it to the
// history.
func (s Settling) Settle(ctx context.Context) error {
	seen, err := s.host.See.Locate(ctx, s.vm.Name())
	if err != nil {
		return err
	}
	s.vm = s.host.See.VM(s.vm.Name()) // in the state directory that was found
	if s.note.Known() && s.note.LastResort != nil {
		if err := s.note.LastResort.PutBack(s.vm, seen.Current); err != nil {
			return err
		}
		if seen, err = s.host.See.Locate(ctx, s.vm.Name()); err != nil {
			return err
		}
	}
	world := s.host.World(seen)
	verdict := s.chosen(settle.Judge(s.note, world, s.By), world)
	switch verdict {
	case settle.Refuse:
		return newer(s.vm, s.note)
	case settle.Wait:
		return ErrBusy
	case settle.AskGuest:
		return nil
	}
	if s.vm.History().Entry(s.note.ID) != nil { // killed between the entry and the end
		return s.vm.Forget()
	}
	s.Log("deployment " + s.note.ID + " by " + s.note.By + " was interrupted")
	entry := hostapi.HistoryEntry{Deployment: s.note.Deployment, Outcome: hostapi.OutcomeInterrupted, Runner: s.note.Runner}
	err = s.carryOut(ctx, verdict, world, &entry)
	var foreign *vmstate.ForeignLinkError
	if errors.As(err, &foreign) { // installed since it was looked at
		entry.Settled, entry.Error, err = hostapi.SettledSuperseded, s.note.Why+"; "+settle.SupersededBy(microvm.StorePath(foreign.Found)), nil
	}
	if err == nil {
		entry.Ended = time.Now().UTC()
		err = Close(s.vm, entry)
	}
	return s.inVain(err)
}

// inVain notes for people why a deployment is not settled.
func (s Settling) inVain(err error) error {
	if err == nil || s.note.Phase == "" || s.note.LastError == err.Error() {
		return err
	}
	s.note.LastError = err.Error()
	if perr := s.vm.Notes().PutDeployment(s.note); perr != nil {
		s.Log(perr.Error())
	}
	return err
}

// chosen is the verdict where somebody says what shall become of the deployment.
// What is kept is what is current.
func (s Settling) chosen(v settle.Verdict, world settle.World) settle.Verdict {
	unsettled := v == settle.Unconfirmed || v == settle.Undo || v == settle.UndoLinks
	switch {
	case !unsettled:
		return v
	case s.Choice == hostapi.SettleKeep && world.Current == s.note.Runner:
		return settle.Unconfirmed
	case s.Choice == hostapi.SettleKeep:
		return settle.UndoLinks
	case s.Choice == hostapi.SettleUndo && s.By != settle.Life:
		return settle.Undo
	}
	return v
}

// carryOut does what a verdict says, and completes the entry of the history.
func (s Settling) carryOut(ctx context.Context, verdict settle.Verdict, world settle.World, entry *hostapi.HistoryEntry) error {
	if verdict == settle.Close {
		entry.Outcome, entry.Error = s.note.Outcome, s.note.Why
		return nil
	}
	if s.note.Why == "" {
		s.note.Why = "it was interrupted"
	}
	switch verdict {
	case settle.Superseded:
		entry.Settled = hostapi.SettledSuperseded
		if s.note.Phase == hostapi.PhaseDone {
			entry.Outcome, entry.Error = s.note.Outcome, settle.SupersededBy(world.Current)
			return nil
		}
		entry.Error = s.note.Why + "; " + settle.SupersededBy(world.Current)
		return s.keepGuest(ctx)
	case settle.Unconfirmed:
		return s.adopt(ctx, entry)
	case settle.UndoLinks:
		return s.undoLinks(ctx, world, entry)
	case settle.Undo:
		return s.undoLate(ctx, entry)
	case settle.Finish:
		entry.Error, entry.Settled = "the host finished the installation", hostapi.SettledFinished
		return s.finishCommit(ctx)
	}
	return nil
}

// adoptWithin bounds the checks of a VM whose deployment nobody has confirmed:
// it runs already.
const adoptWithin = 10 * time.Second

// adopt leaves what runs as it is, where the checks of the deployment hold now or
// somebody says so.
func (s Settling) adopt(ctx context.Context, entry *hostapi.HistoryEntry) error {
	entry.Settled = hostapi.SettledUnconfirmed
	switch {
	case s.Choice == hostapi.SettleKeep:
		entry.Error = s.note.Why + "; it was kept as it is, as --settle=keep says"
		return nil
	case s.By == settle.Life:
		entry.Error = s.note.Why + "; the VM was new, and somebody has told its unit what to do since"
		return nil
	}
	if withheld := s.note.Commit.Confirm.Withheld; len(withheld) > 0 {
		return unsettled(s.vm.Name(), s.note, fmt.Errorf("not all of them are known here (%s)", strings.Join(withheld, ", ")))
	}
	if checks := s.note.Commit.Confirm.Checks; !checks.Empty() {
		s.Log("checking whether what runs is well")
		if err := prove.All(ctx, checks, adoptWithin, s.Log); err != nil {
			return unsettled(s.vm.Name(), s.note, err)
		}
	}
	entry.Error = s.note.Why + "; its runner is current, but nobody has confirmed it; what runs was not touched"
	return nil
}

// unsettled says that only a person can decide.
func unsettled(n microvm.Name, note *vmstate.Note, why error) *hostapi.Failure {
	return hostapi.Refuse(
		fmt.Sprintf("deployment %s of %s was left unfinished: its runner is current and runs, but nobody has confirmed it, and it does not pass its checks: %v", note.ID, n, why),
		"keep it with --settle=keep, or have what ran before started again with --settle=undo").About(trouble.LeftUnfinished)
}

// newer refuses a note of a later version of ferry.
func newer(vm vmstate.VM, note *vmstate.Note) *hostapi.Failure {
	return hostapi.Refuse(
		fmt.Sprintf("deployment %s of %s was left unfinished by a newer version of ferry (note version %d, phase %.20q)", note.ID, vm.Name(), note.Version, note.Phase),
		"deploy with that version; the note is "+vm.Notes().Path()+" on the host")
}

func (s Settling) undo(units undo.Units) undo.Undo {
	return undo.Undo{VM: s.vm, Units: units, Note: s.note, Started: s.Started, Log: s.Log}
}

// undoLinks puts links back, and says what is so of the unit.
func (s Settling) undoLinks(ctx context.Context, world settle.World, entry *hostapi.HistoryEntry) error {
	touched := s.note.Phase != hostapi.PhaseCommit // the unit, by the deployment
	_, err := s.undo(undo.Resting{Units: s.host.Units}).Run(ctx)
	entry.Error, entry.Settled = s.note.Why+"; "+undo.AtRest(s.note, world), hostapi.SettledUndone
	if touched && world.Unit.Runs() && world.Booted == s.note.Runner {
		entry.Settled = hostapi.SettledUnconfirmed
	}
	return err
}

// undoLate undoes a deployment that its session can't undo any more.
func (s Settling) undoLate(ctx context.Context, entry *hostapi.HistoryEntry) error {
	if s.note.Phase == hostapi.PhaseAwait {
		s.note.Why = "nobody has confirmed it by " + s.note.Deadline.Local().Format(time.TimeOnly)
		s.note.Outcome = hostapi.OutcomeRolledBack // also for a further try
	}
	entry.Outcome = cmp.Or(s.note.Outcome, entry.Outcome)
	state, err := s.undo(s.host.Units).Run(ctx)
	var down *undo.StillDownError
	if errors.As(err, &down) { // a second start would end no better
		state, err = down.Error(), nil
		entry.Outcome, entry.Down = hostapi.OutcomeRolledBack, true
	}
	entry.Error, entry.Settled = s.note.Why+"; "+state, hostapi.SettledUndone
	return err
}

// finishCommit does the rest of a commit that is not undone.
func (s Settling) finishCommit(ctx context.Context) error {
	if err := s.keepGuest(ctx); err != nil {
		return err
	}
	todo := install.Installation{VM: s.vm, Nix: s.host.Nix, Req: *s.note.Commit, Before: s.note.Before}
	if err := todo.Run(ctx); err != nil {
		return err
	}
	if s.note.Commit.Activation == hostapi.ActivateLive {
		return s.vm.Guest().Settle()
	}
	return nil
}

// keepGuest keeps what a live switch has brought into the guest as long as that
// runs: in the same start of the unit.
func (s Settling) keepGuest(ctx context.Context) error {
	system := s.note.Commit.GuestSystem
	if system == "" {
		return nil
	}
	unit, err := s.host.Units.Unit(ctx, s.vm.Name().Unit())
	if err != nil {
		return err
	}
	id := s.note.Before.Unit.InvocationID
	if !unit.Up() || unit.InvocationID != id {
		return nil
	}
	now := vmstate.Running{InvocationID: id, System: system}
	return step.Do(step.Running, func() error { return install.KeepRunning(ctx, s.host.Nix, s.vm.Guest(), now) })
}

// Settle ends all deployments that were left unfinished, as at the start of the
// machine. VMs that somebody works on are left to them.
func (h Host) Settle(ctx context.Context, booting bool, log func(n microvm.Name, line string)) error {
	vms, err := h.See.Layout.Noted()
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
		err := h.SettleOne(ctx, n, "", Settling{By: by, Log: func(line string) { log(n, line) }})
		switch {
		case errors.Is(err, ErrBusy):
			log(n, "a deployment is under way")
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("%s: %w", n, err))
		}
	}
	return failed
}

// SettleOne settles a VM's deployment if nobody holds its lock and no answer is
// awaited any more; with id only that one. A note that only a later ferry
// understands is given to the program that wrote it.
func (h Host) SettleOne(ctx context.Context, n microvm.Name, id string, how Settling) error {
	vm := h.See.VM(n)
	left, err := vm.Notes().Deployment()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return Unreadable(vm, err)
	case id != "" && left.ID != id:
		return nil
	case !left.Known():
		return h.HandOver(ctx, vm, left, how.By == settle.Boot)
	}
	lock, err := vm.Lock().Take(ctx, hostapi.Lock{By: left.By, Deployment: left.ID, Since: left.Started})
	if err != nil {
		if f := (*hostapi.Failure)(nil); errors.As(err, &f) && f.Kind == hostapi.KindLocked {
			return ErrBusy
		}
		return err
	}
	defer lock.Release()
	if left = vm.Notes().Left(); left == nil || (id != "" && left.ID != id) {
		return nil
	}
	how.host, how.vm, how.note = h, vm, left
	return how.Settle(ctx)
}

// ForLife ends what a deployment has left before somebody starts, stops or
// removes the VM, whose lock is held.
func (h Host) ForLife(ctx context.Context, n microvm.Name, log func(string)) error {
	vm := h.See.VM(n)
	left, err := vm.Notes().Deployment()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return Unreadable(vm, err)
	}
	return h.Settling(vm, left, settle.Life, log).Settle(ctx)
}

// ErrBusy: somebody works on the VM.
var ErrBusy = errors.New("somebody works on it")

// Unreadable: the note may say how to undo what is half done.
func Unreadable(vm vmstate.VM, err error) *hostapi.Failure {
	return hostapi.Refuse(fmt.Sprintf("the note of an earlier deployment cannot be read: %v", err),
		"look at "+vm.Notes().Path()+" on the host; without it, nothing undoes that deployment")
}

// Close writes a deployment into the history, then forgets it.
func Close(vm vmstate.VM, entry hostapi.HistoryEntry) error {
	if err := step.Do(step.History, func() error { return vm.History().Append(entry) }); err != nil {
		return err
	}
	return step.Do(step.Forget, vm.Forget)
}
