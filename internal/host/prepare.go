package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"time"

	"ferry/internal/host/install"
	"ferry/internal/host/settle"
	"ferry/internal/host/step"
	"ferry/internal/host/unfinished"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/nix"
	"ferry/internal/trouble"
)

// deploymentID is what a deployment may be called: a part of names of units and
// of files.
var deploymentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// prepare takes the VM's lock for a deployment and gives it to the session.
func (s *session) prepare(ctx context.Context, req hostapi.PrepareRequest) (*hostapi.Prepared, error) {
	if s.busy() {
		return nil, hostapi.Refuse("this session has a deployment already", "")
	}
	if !deploymentID.MatchString(req.Deployment.ID) {
		return nil, hostapi.Refuse(fmt.Sprintf("%.80q is not a valid deployment id", req.Deployment.ID), "")
	}
	if _, err := s.srv.see.Locate(ctx, req.Name); err != nil {
		return nil, err
	}
	version, err := s.srv.nix.Version(ctx)
	if err != nil {
		return nil, hostapi.Refuse(fmt.Sprintf("Nix on the host: %v", err), "install Nix there, or put it on the PATH of root's ssh sessions").About(trouble.NixNotFound)
	}
	if err := nix.CheckVersion(version, "the host"); err != nil {
		return nil, hostapi.Refuse(err.Error(), "upgrade Nix there").About(trouble.OldNix)
	}
	d := req.Deployment
	vm := s.srv.see.VM(req.Name)
	if left := vm.Notes().Left(); left != nil && !left.Known() {
		if err := s.srv.unfinished().HandOver(ctx, vm, left, false); err != nil && !errors.Is(err, unfinished.ErrBusy) {
			return nil, err
		}
	}
	var lock *vmstate.Held
	var waited bool
	err = step.Do(step.Lock, func() error {
		mine := hostapi.Lock{By: d.By, Deployment: d.ID, Since: d.Started, PID: os.Getpid()}
		lock, waited, err = vm.Lock().Wait(ctx, mine, time.Duration(req.WaitSeconds)*time.Second, s.say)
		return err
	})
	if err != nil {
		return nil, err
	}
	if waited {
		req.GuestSystem = "" // seen before that
	}
	// The session has the lock only once all of this has succeeded: what ends a
	// session's deployment would drop an earlier one's note and roots.
	note := vmstate.Note{Deployment: d, Runner: req.Runner}
	note.Stamp(vm.Now())
	said, err := s.begin(ctx, req, &note)
	if err != nil {
		lock.Release()
		return nil, err
	}
	s.work = s.take(vm, lock, note)
	s.work.baseline(ctx, req.Guest)
	for _, line := range said {
		vm.Log(d.ID).Append(line)
	}
	return &hostapi.Prepared{NixVersion: version.String(), Waited: waited}, nil
}

// begin settles an earlier deployment and notes the new one, under the VM's
// lock. Where it fails, an earlier deployment that is not settled is left as it
// is to the guard. It returns what it has told the operator.
func (s *session) begin(ctx context.Context, req hostapi.PrepareRequest, note *vmstate.Note) (said []string, err error) {
	seen, err := s.srv.see.Locate(ctx, req.Name) // as it is now that nobody else works on it
	if err != nil {
		return nil, err
	}
	log := func(line string) { s.say(line); said = append(said, line) }
	if err := s.settleEarlier(ctx, seen, req, log); err != nil {
		return nil, err
	}
	vm := s.srv.see.VM(req.Name)
	err = step.Do(step.Note, func() error { return vm.Notes().PutDeployment(note) })
	if err == nil {
		err = step.Do(step.Pending, func() error { return vm.Roots().Expect(req.Runner, req.Derivations) })
	}
	if err != nil { // there is no earlier deployment any more: note and roots are this one's
		entry := hostapi.HistoryEntry{Deployment: note.Deployment, Ended: time.Now().UTC(), Outcome: hostapi.OutcomeFailed, Error: err.Error(), Runner: note.Runner}
		return nil, errors.Join(err, vm.History().Append(entry), vm.Forget())
	}
	return said, nil
}

// settleEarlier deals with a deployment that was interrupted, and keeps what its
// guest may be running before its own roots are dropped.
func (s *session) settleEarlier(ctx context.Context, seen *hostapi.VMState, req hostapi.PrepareRequest, log func(string)) error {
	vm := s.srv.see.VM(req.Name)
	if req.GuestSystem != "" && seen.Unit.Up() && req.GuestSystem != seen.Running {
		if err := install.KeepRunning(ctx, s.srv.nix, vm.Guest(), vmstate.Running{InvocationID: seen.Unit.InvocationID, System: req.GuestSystem}); err != nil {
			return err
		}
	}
	left, err := vm.Notes().Deployment()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil && req.Settle == hostapi.SettleKeep:
		log("the note of an earlier deployment cannot be read, and is dropped: " + err.Error())
		return vm.Forget()
	case err != nil:
		return unfinished.Unreadable(vm, err)
	}
	if err := keepUnsure(vm, seen, left); err != nil {
		return err
	}
	how := s.srv.unfinished().Settling(vm, left, settle.Next, log)
	how.Choice = req.Settle
	return how.Settle(ctx)
}

// keepUnsure keeps what an interrupted live switch may have left running.
func keepUnsure(vm vmstate.VM, seen *hostapi.VMState, left *vmstate.Note) error {
	if !left.Activating || left.Phase == hostapi.PhaseDone || left.Phase == hostapi.PhaseCommit || !seen.Unit.Up() {
		return nil
	}
	return vm.Guest().PutUnsure(vmstate.Unsure{InvocationID: seen.Unit.InvocationID, Runner: left.Runner})
}
