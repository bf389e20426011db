package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// UpdateRequest is a deployment that the host makes by itself, from derivations
// in its own store: what `microvm -c` and `microvm -u` do.
type UpdateRequest struct {
	Deployment hostapi.Deployment
	Record     microvm.Record // Record.Name is the VM
	// Create is for a VM that must not exist yet; Flake is what its `flake` file
	// will hold.
	Create bool
	Flake  string
	// Restart brings the VM to what was installed: a restart if that is not what
	// it booted, a start if it does not run, else nothing.
	Restart bool
}

// Updated is what an Update did.
type Updated struct {
	Plan       hostapi.Plan // what had to be done, restarts left aside
	Generation int
	Activated  hostapi.Activation // what was done to the unit
	Running    bool               // the VM ran before
	// Warnings are for the user.
	Warnings []string
}

// CheckCreate refuses a VM that exists already. An empty directory is none: it
// is what a creation leaves that was killed at the worst moment.
func (s *Server) CheckCreate(ctx context.Context, n microvm.Name) error {
	if _, err := s.see.Locate(ctx, n); err != nil {
		return err
	}
	path := s.see.VM(n).Path()
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	return hostapi.Refuse(path+" already exists", fmt.Sprintf("`microvm -u %s` updates it; to start over, remove it first", n))
}

// Update builds and installs, and restarts where asked. From its first step on
// it holds the VM's lock; where a step before the installation fails, nothing
// has changed.
func (s *Server) Update(ctx context.Context, req UpdateRequest, answers *Answers) (*Updated, error) {
	n := req.Record.Name
	if req.Create {
		if err := s.CheckCreate(ctx, n); err != nil {
			return nil, err
		}
	}
	if err := s.checkNames(n, req.Record.HostName, !req.Create); err != nil {
		return nil, err
	}
	if err := s.checkSettled(ctx, req); err != nil {
		return nil, err
	}
	sess := &session{srv: s, out: answers.out}
	defer sess.abandon()
	done, err := sess.update(ctx, req)
	if !sess.busy() {
		return done, err
	}
	outcome, why := done.outcome(), ""
	if err != nil {
		sess.failed = hostapi.FailureOf(err)
		outcome, why = hostapi.OutcomeFailed, sess.inFull(err.Error())
	}
	if ctx.Err() != nil {
		outcome = hostapi.OutcomeInterrupted
	}
	return done, errors.Join(err, sess.work.end(outcome, why))
}

// checkSettled refuses to go on where a deployment was cut off while it
// activated and its guest still runs: only who can ask the guest knows what it
// runs, and so what must be kept from garbage collection.
func (s *Server) checkSettled(ctx context.Context, req UpdateRequest) error {
	n := req.Record.Name
	if req.Restart || s.see.VM(n).Lock().Holder() != nil {
		return nil
	}
	left := s.see.VM(n).Notes().Left()
	if left == nil || !left.Activating {
		return nil
	}
	vm, err := s.see.Locate(ctx, n)
	if err != nil || !vm.Unit.Up() {
		return err
	}
	return hostapi.Refuse(fmt.Sprintf("deployment %s of %s by %s was cut off while it switched the guest, so it is not known what the guest runs", left.ID, n, left.By),
		fmt.Sprintf("deploy it again from there (ferry rebuild %s), or restart it with the update: microvm -Ru %s", n, n)).About(trouble.LeftUnfinished)
}

func (s *session) update(ctx context.Context, req UpdateRequest) (*Updated, error) {
	n, record := req.Record.Name, &req.Record
	if _, err := s.prepare(ctx, hostapi.PrepareRequest{
		Name: n, Deployment: req.Deployment, Runner: record.Runner.Out,
		Derivations: []microvm.StorePath{record.Runner.Drv},
	}); err != nil {
		return nil, err
	}
	if req.Create { // again, now that nobody else works on it
		if err := s.srv.CheckCreate(ctx, n); err != nil {
			return nil, err
		}
	}
	built, err := obtaining{s.work}.build(ctx, hostapi.BuildRequest{Name: n, Derivations: []microvm.StorePath{record.Runner.Drv}})
	if err != nil {
		return nil, err
	}
	vm, err := s.srv.see.Locate(ctx, n)
	if err != nil {
		return nil, err
	}
	plan, err := s.srv.Plan(ctx, hostapi.PlanRequest{
		Name: n, Runner: built.Runner, Record: record,
		Intent: hostapi.Intent{Action: hostapi.ActionSwitch, Restart: hostapi.RestartAuto, TargetKnown: true},
	})
	if err != nil {
		return nil, err
	}
	done := &Updated{Plan: *plan, Running: vm.Unit.Up(), Activated: hostapi.ActivateNone}
	for _, source := range missingShares(record.Shares) {
		done.Warnings = append(done.Warnings, "the source of a share does not exist on this host: "+source)
	}
	if req.Restart {
		done.Activated = restartFor(*vm, *plan)
	}
	committed, err := committing{s.work}.commit(ctx, hostapi.CommitRequest{
		Name: n, Runner: built.Runner, Record: record, Install: plan.Install,
		UpdateFlake: req.Flake, Activation: done.Activated,
	})
	if err != nil {
		return done, err
	}
	done.Generation = committed.Generation
	return done, nil
}

// restartFor is what `-R` does, as in microvm.nix's command: a VM that runs is
// restarted if anything differs from what it booted, one that does not run is
// started.
func restartFor(vm hostapi.VMState, p hostapi.Plan) hostapi.Activation {
	switch {
	case vm.Unit.Stopped():
		return hostapi.ActivateStart
	case !vm.Unit.Up(), p.Activation != hostapi.ActivateNone, len(p.Waits) > 0:
		return hostapi.ActivateRestart
	}
	return hostapi.ActivateNone
}

// outcome is the word for the history.
func (u *Updated) outcome() string {
	switch {
	case u == nil:
		return hostapi.OutcomeFailed
	case u.Activated == hostapi.ActivateRestart:
		return hostapi.OutcomeRestarted
	case u.Activated == hostapi.ActivateStart:
		return hostapi.OutcomeStarted
	case u.Plan.Install:
		return hostapi.OutcomeInstalled
	}
	return hostapi.OutcomeUnchanged
}

// UpdateFlake reads the reference that the VM is updated from, and what its host
// declares of it; empty where it has no `flake` file.
func (s *Server) UpdateFlake(ctx context.Context, n microvm.Name) (string, error) {
	vm, err := s.see.Locate(ctx, n)
	if err != nil {
		return "", err
	}
	if !vm.Exists {
		return "", hostapi.Refuse(fmt.Sprintf("there is no VM %s on this machine", n), "`microvm -l` lists those there are")
	}
	dir, err := s.see.VM(n).Open()
	if err != nil {
		return "", err
	}
	defer dir.Close()
	ref, err := dir.Flake()
	if err != nil {
		return "", hostapi.Refuse(err.Error(), fmt.Sprintf("write the flake's reference into it: printf %%s REF > %s", dir.Path("flake")))
	}
	return ref, nil
}
