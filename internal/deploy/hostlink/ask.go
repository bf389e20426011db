package hostlink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"

	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
)

const (
	// undoWait bounds how long the host may take to undo: a stop and a start.
	undoWait = 11 * time.Minute
	// failedWait is for the host to write down how a deployment failed.
	failedWait = 20 * time.Second
)

// NothingChanged is how things are as long as nothing was begun.
const NothingChanged = "nothing was changed"

// Probe asks for facts, and makes sure that the two sides understand each other.
func (l *Link) Probe(ctx context.Context, req hostapi.ProbeRequest) (hostapi.Facts, error) {
	var facts hostapi.Facts
	if err := l.Call(ctx, hostapi.Request{Probe: &req}, &facts); err != nil {
		return facts, err
	}
	l.streams = facts.NoNixDaemon
	return facts, sameProtocol(l.Address.String(), facts.Protocol)
}

// sameProtocol refuses a helper that may misunderstand us.
func sameProtocol(where string, theirs int) error {
	older, newer := "the ferry on "+where, "this one"
	switch {
	case theirs == hostapi.ProtocolVersion:
		return nil
	case theirs > hostapi.ProtocolVersion:
		older, newer = newer, older
	}
	return hostapi.Refuse(
		fmt.Sprintf("%s is older than %s, and the two may misunderstand each other (protocol %d on the host, %d here)", older, newer, theirs, hostapi.ProtocolVersion),
		"use the same release of ferry on both sides: update "+older)
}

// Token has the host add a path with a name to its store that nobody could know
// before: a guest that sees it shares that store.
func (l *Link) Token(ctx context.Context) (microvm.StorePath, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, as documented
	name := "ferry-token-" + hex.EncodeToString(random[:])
	var made microvm.StorePath
	if err := l.Call(ctx, hostapi.Request{Token: &hostapi.TokenRequest{Name: name}}, &made); err != nil {
		return "", fmt.Errorf("making a path in the store of %s for its guest to see: %w", l.Address, err)
	}
	if made.Name() != name {
		return "", fmt.Errorf("%s was asked for a path named %s and answered %.120q", l.Address, name, made)
	}
	return made, nil
}

// Check has the host make the VM's checks until all pass.
func (l *Link) Check(ctx context.Context, checks health.Checks, until time.Time) error {
	l.Report.Step("checking from %s", l.Address)
	call := func() error {
		left := max(1, int(time.Until(until).Round(time.Second).Seconds()))
		return l.Call(ctx, hostapi.Request{Check: &hostapi.CheckRequest{Name: l.VM, Checks: checks, Seconds: left}}, nil)
	}
	err := call()
	if hostclient.IsLost(err) {
		again, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		if _, err = l.Resume(again, err); err == nil {
			err = call()
		}
	}
	if ctx.Err() != nil {
		l.Close() // its answer is still to come, and nobody waits for it
	}
	return err
}

// Observe tells the host what the guest runs, so that it is kept there; failed:
// the switch to it did.
func (l *Link) Observe(ctx context.Context, system microvm.StorePath, failed bool) error {
	return l.Call(ctx, hostapi.Request{Observe: &hostapi.ObserveRequest{Name: l.VM, System: system, Failed: failed}}, nil)
}

// Observed is Observe, also where the connection to the host was lost meanwhile.
// What can't be told is only reported.
func (l *Link) Observed(ctx context.Context, system microvm.StorePath, failed bool) {
	err := l.Observe(ctx, system, failed)
	if hostclient.IsLost(err) {
		if _, err = l.Resume(ctx, err); err == nil {
			err = l.Observe(ctx, system, failed)
		}
	}
	if err != nil {
		l.Report.Warn("the host could not note what the guest runs: %v", err)
	}
}

// Commit asks for a commit. Where the connection is lost meanwhile, the host goes
// on; what has become of it is asked over a new one. ended: the deployment is
// over, as the error says.
func (l *Link) Commit(ctx context.Context, c hostapi.CommitRequest) (done hostapi.Committed, ended bool, err error) {
	err = l.Call(ctx, hostapi.Request{Commit: &c}, &done)
	if !hostclient.IsLost(err) {
		return done, false, err
	}
	resumed, rerr := l.Resume(ctx, err)
	switch {
	case rerr != nil:
		return done, false, rerr
	case resumed.Phase == hostapi.PhaseAwait:
		return hostapi.Committed{Deadline: resumed.Deadline}, false, nil
	case resumed.Outcome == "": // a live switch whose commit never arrived
		return done, false, l.Call(ctx, hostapi.Request{Commit: &c}, &done)
	}
	return done, true, l.EndedAs(resumed, err)
}

// Finish is the last word of a deployment that went well. Where the host waits
// for it, it is the confirmation.
func (l *Link) Finish(ctx context.Context, outcome string) error {
	req := hostapi.Request{Finish: &hostapi.FinishRequest{Name: l.VM, Outcome: outcome}}
	err := l.Call(ctx, req, nil)
	if !hostclient.IsLost(err) {
		return err
	}
	resumed, err := l.Resume(ctx, err)
	switch {
	case err != nil:
		return err
	case resumed.Outcome == "":
		return l.Call(ctx, req, nil)
	}
	return l.EndedAs(resumed, errors.New("the connection was lost"))
}

// Failed is the last word of one that didn't: the host writes it down.
func (l *Link) Failed(ctx context.Context, outcome, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failedWait)
	defer cancel()
	err := l.Call(ctx, hostapi.Request{Finish: &hostapi.FinishRequest{Name: l.VM, Outcome: outcome, Error: why}}, nil)
	if err != nil {
		l.Report.Detail("the failure could not be written to the history: %v", err)
	}
	return err
}

// Undo has the host bring back what ran before a restart, and returns how things
// are then. why is what the host is told, cause what the user is.
func (l *Link) Undo(ctx context.Context, why string, cause error) (state string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWait)
	defer cancel()
	req := hostapi.Request{Undo: &hostapi.UndoRequest{Name: l.VM, Why: why}}
	var undone hostapi.Undone
	err = l.Call(ctx, req, &undone)
	if hostclient.IsLost(err) {
		if resumed, rerr := l.Resume(ctx, err); rerr == nil && resumed.Outcome == "" {
			err = l.Call(ctx, req, &undone)
		} else if rerr == nil {
			err = l.EndedAs(resumed, cause)
		}
	}
	return undone.State, err
}

// EndedAs is nil where the host has brought the deployment to a good end by
// itself, else what it did instead.
func (l *Link) EndedAs(r *hostapi.Resumed, lost error) error {
	switch {
	case r.Outcome == hostapi.OutcomeRolledBack, r.Settled == hostapi.SettledUndone:
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), RolledBack: !r.Down, State: r.Error}
	case r.Settled == hostapi.SettledUnconfirmed, r.Settled == hostapi.SettledSuperseded:
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), State: r.Error}
	case r.Outcome == hostapi.OutcomeInterrupted && r.Settled == "":
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: lost.Error(), State: NothingChanged}
	case r.Outcome == hostapi.OutcomeFailed:
		return fmt.Errorf("deployment %s: %s", l.ID, r.Error)
	}
	return nil
}

// deploymentID is what a deployment may be called: a part of names of units and
// of files.
var deploymentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// AnswersFor fails where the host has answered with another deployment than the
// one that it was asked for. Empty words ask for any.
func (l *Link) AnswersFor(u hostapi.Underway, id string, vm microvm.Name) error {
	_, err := microvm.ParseName(string(u.Name))
	wrong := err != nil || !deploymentID.MatchString(u.Deployment.ID) ||
		id != "" && u.Deployment.ID != id || vm != "" && u.Name != vm
	if wrong {
		return fmt.Errorf("%s does not answer what it was asked for: deployment %.80q of %.80q", l.Address, u.Deployment.ID, u.Name)
	}
	return nil
}
