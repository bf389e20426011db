package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"ferry/internal/flake"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// AttachRequest names a deployment that was left, and where.
type AttachRequest struct {
	Host     microvm.Address
	HostSudo bool
	ID       string       // empty: the only one that has not ended
	Name     microvm.Name // empty: of any VM; else its last one where all have ended
	// Target and TargetSudo win over what this machine remembers of the
	// deployment, and over the flake.
	Target     *microvm.Address
	TargetSudo bool
	// Source is the flake that is asked where this machine remembers nothing.
	Source flake.Source
	// TakeOver ends a session that has the deployment still: one of a connection
	// that is gone, but not for the host.
	TakeOver bool
}

// NoDeploymentError says that a host has no such deployment.
type NoDeploymentError struct {
	Host microvm.Address
	What string // is not there
}

func (e *NoDeploymentError) Error() string { return fmt.Sprintf("%s has %s", e.Host, e.What) }

// Hint is what to do next.
func (e *NoDeploymentError) Hint() string { return "ferry history NAME lists the deployments of a VM" }

// Attach goes on with a deployment that its operator has left: it waits for what
// is under way on the host, and makes the checks whose answer the host or the
// guest waits for, or tells how it has ended. Nothing is built, and evaluated only
// where the guest has to be asked and this machine did not begin the deployment.
func (d *Deployer) Attach(ctx context.Context, req AttachRequest) (*Result, error) {
	run := d.begin(Request{Name: req.Name, Host: &req.Host, HostSudo: req.HostSudo, Action: hostapi.ActionSwitch})
	defer run.close()
	if err := run.findLeft(ctx, req); err != nil {
		return run.end(ctx, err)
	}
	return run.end(ctx, run.attach(ctx, req))
}

// findLeft finds out which deployment is meant.
func (d *deployment) findLeft(ctx context.Context, req AttachRequest) error {
	if err := d.openHost(ctx); err != nil {
		return err
	}
	var found []hostapi.Underway
	if err := d.session.Call(ctx, hostapi.Request{Underway: &hostapi.UnderwayRequest{ID: req.ID, Name: req.Name}}, &found); err != nil {
		return err
	}
	switch {
	case len(found) == 0 && req.ID != "":
		return &NoDeploymentError{Host: req.Host, What: fmt.Sprintf("no deployment %.80q", req.ID)}
	case len(found) == 0:
		return &NoDeploymentError{Host: req.Host, What: "no deployment that has not ended"}
	case len(found) > 1:
		var ids []string
		for _, u := range found {
			ids = append(ids, fmt.Sprintf("%s (%s, by %s)", u.Deployment.ID, u.Name, u.Deployment.By))
		}
		return &UsageError{Message: "more than one deployment has not ended: " + strings.Join(ids, ", "), Next: "name one of them"}
	}
	left := found[0]
	if err := answersFor(left, req); err != nil {
		return err
	}
	d.req.Name, d.req.Attribute, d.id = left.Name, left.Name, left.Deployment.ID
	d.req.Action = left.Deployment.Action
	d.result.VM, d.result.Deployment, d.result.Action = d.req.Name, d.id, d.req.Action
	d.step("deployment %s by %s, begun %s", d.id, left.Deployment.By, left.Deployment.Started.Local().Format(time.DateTime))
	return nil
}

// deploymentID is what a deployment may be called: a part of names of units and
// of files.
var deploymentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// answersFor fails where a host answers with another deployment than the one that
// it was asked for.
func answersFor(u hostapi.Underway, req AttachRequest) error {
	_, err := microvm.ParseName(string(u.Name))
	wrong := err != nil || !deploymentID.MatchString(u.Deployment.ID) ||
		req.ID != "" && u.Deployment.ID != req.ID || req.Name != "" && u.Name != req.Name
	if wrong {
		return fmt.Errorf("%s does not answer what it was asked for: deployment %.80q of %.80q", req.Host, u.Deployment.ID, u.Name)
	}
	return nil
}

// attached is what is special about a deployment that another process began.
type attached struct {
	// ran is what the guest ran before, as this machine remembers; empty: unknown.
	ran microvm.StorePath
}

// attach takes the deployment over, or waits for its end. From the host come how
// far it is and how it ended; where to log in and what to run there do not.
func (d *deployment) attach(ctx context.Context, req AttachRequest) error {
	d.state = "the host goes on by itself, and undoes what fails"
	var r hostapi.Resumed
	resume := hostapi.ResumeRequest{Name: d.req.Name, ID: d.id, TakeOver: req.TakeOver}
	if err := d.session.Call(ctx, hostapi.Request{Resume: &resume}, &r); err != nil {
		return err
	}
	d.result.Runner, d.result.System = r.Runner, r.System
	m := d.remembered()
	d.kept = m != nil && m.Host == d.req.Host.String()
	if r.Outcome != "" {
		d.ended = true
		d.result.Outcome = Outcome(r.Outcome)
		return d.endedAs(&r, fmt.Errorf("deployment %s has failed", d.id))
	}
	if r.Phase != "" && r.Phase != hostapi.PhaseAwait {
		return fmt.Errorf("%s says that deployment %s is in the phase %.40q, which nobody can resume", d.req.Host, d.id, r.Phase)
	}
	if err := d.know(ctx, m, &r, req); err != nil {
		return err
	}
	d.prepared = true
	d.result.System = d.plan.System
	if r.Phase == hostapi.PhaseAwait {
		return d.confirmRestart(ctx, r.Deadline)
	}
	return d.resumeLive(ctx)
}

// know finds out where the guest is and what it must be like: from what this
// machine remembers, else from the flake.
func (d *deployment) know(ctx context.Context, m *memory, r *hostapi.Resumed, req AttachRequest) error {
	d.req.Target, d.req.TargetSudo = req.Target, req.TargetSudo
	var err error
	if m != nil {
		if err = m.contradicts(d, r); err == nil {
			err = d.recall(m)
		}
	} else {
		err = d.learn(ctx, r, req)
	}
	switch {
	case err != nil:
		return err
	case d.plan.System == "":
		return errNoSystem
	case d.req.Target == nil:
		return &UsageError{
			Message: fmt.Sprintf("the guest of %s has to be asked, and the address of its system is not known", d.req.Name),
			Next:    "name it: --target root@ADDRESS" + recordedTarget(r),
		}
	}
	ssh := true // the answer of the guest is waited for, so it is never passed over
	d.record.SSH = &ssh
	return nil
}

// recordedTarget tells what the host says the address is. It is only ever shown.
func recordedTarget(r *hostapi.Resumed) string {
	if r.Deployment.Target == "" {
		return ""
	}
	return fmt.Sprintf(" (the host has noted %.80q, which is not used unless you say so)", r.Deployment.Target)
}

// learn is recall on a machine that did not begin the deployment: the flake here
// says what its VM must be like, if it yields the very runner.
func (d *deployment) learn(ctx context.Context, r *hostapi.Resumed, req AttachRequest) error {
	if r.Commit == nil {
		return fmt.Errorf("cannot resume deployment %s: another version of ferry started it", d.id)
	}
	d.step("deployment %s was not begun from here: evaluating %s to know what its guest must be like", d.id, d.req.Attribute)
	ev, err := d.Evaluator.Evaluate(ctx, req.Source, d.req.Attribute)
	if err != nil {
		return fmt.Errorf("the guest of %s has to be asked, and nothing is known of it here: %w", d.req.Name, err)
	}
	for _, w := range ev.Warnings {
		d.Report.Warn("%s", w)
	}
	if h, ok := ev.Fleet.HostOf(d.req.Attribute); req.Name == "" && (!ok || h.Address != *d.req.Host) {
		return &UsageError{
			Message: fmt.Sprintf("%s says that deployment %s is for %s, which the flake does not have there", d.req.Host, d.id, d.req.Name),
			Next:    "if it is right, name the VM too",
		}
	}
	if ev.Record.Runner.Out == "" || ev.Record.Runner.Out != r.Runner {
		return &RefusedError{
			Message: fmt.Sprintf("the flake here yields another runner than deployment %s: %s instead of %s", d.id, orNotKnown(ev.Record.Runner.Out), orNotKnown(r.Runner)),
			Next:    "check out the revision that was deployed, or attach from the machine that began it",
		}
	}
	d.take(ev)
	d.fromFleet(ev.Fleet)
	// What the host has to do is its own affair: it gets back what it has noted.
	d.plan = hostapi.Plan{
		Runner: ev.Record.Runner.Out, System: systemOut(&ev.Record), HostName: ev.Record.HostName,
		Install: r.Commit.Install, Activation: r.Commit.Activation, WriteFlake: r.Commit.UpdateFlake != "",
	}
	d.req.UpdateFlake, d.result.Generation = r.Commit.UpdateFlake, r.Commit.Generation
	if r.Commit.Generation != 0 {
		d.back = &goBack{to: hostapi.Generation{Number: r.Commit.Generation, Runner: d.plan.Runner}}
	}
	d.attached = &attached{}
	return nil
}

func orNotKnown(p microvm.StorePath) string {
	return cmp.Or(string(p), "one that only the build tells")
}

// resumeLive goes on with a live switch: one that the guest still waits to have
// confirmed is confirmed or undone; of one that is over the host is told.
func (d *deployment) resumeLive(ctx context.Context) error {
	// Until the guest is known to be the right one, the deployment is left as it
	// is, and the host learns nothing.
	d.guest = &guestSide{open: true}
	d.state = "the guest undoes the switch by itself if nobody confirms it; `current` on the host is unchanged; this can be tried again"
	conn, err := d.dialGuest(ctx, true)
	if err != nil {
		return &guestDownError{target: *d.req.Target, name: d.req.Name, err: err}
	}
	d.guest.conn = conn
	if err := conn.Root(ctx); err != nil {
		return fmt.Errorf("the guest at %s: %w", d.req.Target, err)
	}
	f, err := guest.Look(ctx, conn, d.plan.Runner)
	if err != nil {
		return err
	}
	if err := d.checkGuest(f, d.plan.Runner); err != nil {
		return err
	}
	d.guest.facts = f
	if f.Switching == d.id || f.Armed == d.id {
		d.guest.facts.Current = d.attached.ran // what it ran before the switch
		return d.confirmLive(ctx, d.guestSwitch())
	}
	if f.Switching != "" || f.Armed != "" {
		return errors.New("another deployment switches the guest meanwhile")
	}
	d.guest.open = false
	if f.Current == d.plan.System { // it was confirmed, and only the host does not know
		return d.commitLive(ctx)
	}
	d.tellHost(ctx, false)
	d.undone = true
	d.state = fmt.Sprintf("the guest has undone it by itself: it runs %s", orUnknown(f.Current))
	return fmt.Errorf("nobody has confirmed deployment %s", d.id)
}

// mayTell reports whether the host may be told that the guest runs p. Whoever
// attaches tells only what this machine knew before it asked the guest: a host
// must not learn by this from a machine that it can't look into.
func (d *deployment) mayTell(p microvm.StorePath) bool {
	return d.attached == nil || p == d.plan.System || p == d.attached.ran
}

// forHost is a failure as the host is told of it.
func (d *deployment) forHost(err error) string {
	if d.attached == nil {
		return err.Error()
	}
	return Operator() + " attached to it and has not confirmed it"
}
