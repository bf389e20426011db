package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/memory"
	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// maxListed bounds the deployments that a message lists.
const maxListed = 12

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
func (d *Deployer) Attach(ctx context.Context, req request.Attach) (*result.Result, error) {
	r, p := d.begin(request.Deploy{Attribute: req.Name, Host: &req.Host, HostSudo: req.HostSudo, Action: hostapi.ActionSwitch}, nil)
	p.attached = &attached{req: req}
	return r.through(ctx, attachSteps, p, nil)
}

// attached is what is special about a deployment that another process began.
type attached struct {
	req request.Attach
	// ran is what the guest ran before, as this machine remembers; empty: unknown.
	ran microvm.StorePath
}

// mayTell reports whether the host may be told that the guest runs p. Whoever
// attaches tells only what this machine knew before it asked the guest: a host
// must not learn by this from a machine that it can't look into.
func (a *attached) mayTell(p, wanted microvm.StorePath) bool {
	return a == nil || p == wanted || p == a.ran
}

// forHost is a failure as the host is told of it.
func (a *attached) forHost(err error) string {
	if a == nil {
		return err.Error()
	}
	return Operator() + " attached to it and has not confirmed it"
}

// findLeft finds out which deployment is meant.
func findLeft(ctx context.Context, r *run, p progress) (progress, error) {
	req := p.attached.req
	var found []hostapi.Underway
	if err := r.host.Call(ctx, hostapi.Request{Underway: &hostapi.UnderwayRequest{ID: req.ID, Name: req.Name}}, &found); err != nil {
		return p, err
	}
	switch {
	case len(found) == 0 && req.ID != "":
		return p, &NoDeploymentError{Host: req.Host, What: fmt.Sprintf("no deployment %.80q", req.ID)}
	case len(found) == 0:
		return p, &NoDeploymentError{Host: req.Host, What: "no deployment that has not ended"}
	case len(found) > 1:
		var ids []string
		for _, u := range found[:min(len(found), maxListed)] {
			ids = append(ids, fmt.Sprintf("%.80s (%s, by %.80s)", u.Deployment.ID, u.Name, u.Deployment.By))
		}
		if more := len(found) - maxListed; more > 0 {
			ids = append(ids, fmt.Sprintf("and %d more", more))
		}
		return p, &request.UsageError{Message: "more than one deployment has not ended: " + strings.Join(ids, ", "), Next: "name one of them"}
	}
	left := found[0]
	if err := r.host.AnswersFor(left, req.ID, req.Name); err != nil {
		return p, err
	}
	r.id, r.say.vm = left.Deployment.ID, left.Name
	r.host.ID, r.host.VM = r.id, left.Name
	p.to = p.to.Named(left.Name, left.Deployment.Action)
	p.result.VM, p.result.Deployment, p.result.Action = left.Name, r.id, left.Deployment.Action
	r.say.Step("deployment %s by %.80s, begun %s", r.id, left.Deployment.By, left.Deployment.Started.Local().Format(time.DateTime))
	return p, nil
}

// takeOver takes the deployment over, or waits for its end. From the host come how
// far it is and how it ended; where to log in and what to run there do not.
func takeOver(ctx context.Context, r *run, p progress) (progress, error) {
	p.standing.text = "the host goes on by itself, and undoes what fails"
	var left hostapi.Resumed
	resume := hostapi.ResumeRequest{Name: p.to.Name, ID: r.id, TakeOver: p.attached.req.TakeOver, Settle: p.attached.req.Settle}
	if err := r.host.Call(ctx, hostapi.Request{Resume: &resume}, &left); err != nil {
		return p, err
	}
	p.result.Runner, p.result.System = left.Runner, left.System
	m := r.memory().Recall()
	p.standing.kept = m != nil && m.Host == p.to.Host.String()
	if left.Outcome != "" {
		p.standing.ended, p.done = true, true
		p.result.Outcome = result.Outcome(left.Outcome)
		return p, r.host.EndedAs(&left, fmt.Errorf("deployment %s has failed", r.id))
	}
	if left.Phase != "" && left.Phase != hostapi.PhaseAwait {
		return p, fmt.Errorf("%s says that deployment %s is in the phase %.40q, which nobody can resume", p.to.Host, r.id, left.Phase)
	}
	p, err := know(ctx, r, p, m, &left)
	if err != nil {
		return p, err
	}
	p.standing.prepared, p.deadline, p.result.System = true, left.Deadline, p.plan.System
	switch {
	case left.Phase == "":
		p.plan.Activation = hostapi.ActivateLive
	case !p.plan.Activation.Starts():
		p.plan.Activation = hostapi.ActivateRestart
	}
	return p, nil
}

// know finds out where the guest is and what it must be like: from what this
// machine remembers, else from the flake.
func know(ctx context.Context, r *run, p progress, m *memory.Note, left *hostapi.Resumed) (progress, error) {
	var err error
	if m != nil {
		if err = m.Contradicts(p.to.Host.String(), p.to.Name, left); err == nil {
			p, err = recall(ctx, r, m, p)
		}
	} else {
		p, err = learn(ctx, r, p, left)
	}
	switch {
	case err != nil:
		return p, err
	case p.plan.System == "":
		return p, errNoSystem
	case p.to.Target == nil:
		return p, &request.UsageError{
			Message: fmt.Sprintf("the guest of %s has to be asked, and the address of its system is not known", p.to.Name),
			Next:    "name it: --target root@ADDRESS" + recordedTarget(left),
		}
	}
	ssh := true // the answer of the guest is waited for, so it is never passed over
	p.record.SSH = &ssh
	return p, nil
}

// recordedTarget tells what the host says the address is. It is only ever shown.
func recordedTarget(left *hostapi.Resumed) string {
	if left.Deployment.Target == "" {
		return ""
	}
	return fmt.Sprintf(" (the host has noted %.80q, which is not used unless you say so)", left.Deployment.Target)
}

// learn is recall on a machine that did not begin the deployment: the flake here
// says what its VM must be like, if it yields the very runner.
func learn(ctx context.Context, r *run, p progress, left *hostapi.Resumed) (progress, error) {
	req, vm := p.attached.req, p.to.Name
	if left.Commit == nil {
		return p, fmt.Errorf("cannot resume deployment %s: another version of ferry started it", r.id)
	}
	r.say.Step("deployment %s was not begun from here: evaluating %s to know what its guest must be like", r.id, vm)
	ev, err := r.Evaluator.Evaluate(ctx, req.Source, vm)
	if err != nil {
		return p, fmt.Errorf("the guest of %s has to be asked, and nothing is known of it here: %w", vm, err)
	}
	r.say.warnAll(ev.Warnings)
	if h, ok := ev.Fleet.HostOf(vm); req.Name == "" && (!ok || h.Address != *p.to.Host) {
		return p, &request.UsageError{
			Message: fmt.Sprintf("%s says that deployment %s is for %s, which the flake does not have there", p.to.Host, r.id, vm),
			Next:    "if it is right, name the VM too",
		}
	}
	if ev.Record.Runner.Out == "" || ev.Record.Runner.Out != left.Runner {
		return p, hostapi.Refuse(
			fmt.Sprintf("the flake here yields another runner than deployment %s: %s instead of %s", r.id, orNotKnown(ev.Record.Runner.Out), orNotKnown(left.Runner)),
			"check out the revision that was deployed, or attach from the machine that began it")
	}
	p = p.with(ev)
	// What the host has to do is its own affair: it gets back what it has noted.
	c := left.Commit
	p.to = request.Resolve(request.Deploy{
		Attribute: vm, Host: p.to.Host, HostSudo: p.to.HostSudo, Target: req.Target, TargetSudo: req.TargetSudo,
		Action: p.to.Action, UpdateFlake: c.UpdateFlake, Confirm: req.Confirm,
	}, ev.Fleet)
	p.plan = hostapi.Plan{
		Runner: ev.Record.Runner.Out, System: systemOut(&ev.Record), HostName: ev.Record.HostName,
		Install: c.Install, Activation: c.Activation, WriteFlake: c.UpdateFlake != "",
	}
	p.generation, p.result.Generation = c.Generation, c.Generation
	return p, nil
}

func orNotKnown(p microvm.StorePath) string {
	return cmp.Or(string(p), "one that only the build tells")
}

// resumeLive goes on with a live switch: one that the guest still waits to have
// confirmed is confirmed or undone; of one that is over the host is told.
func resumeLive(ctx context.Context, r *run, p progress) (progress, error) {
	if p.plan.Activation != hostapi.ActivateLive {
		return p, nil
	}
	// Until the guest is known to be the right one, the deployment is left as it
	// is, and the host learns nothing.
	p.standing.open = true
	p.standing.text = "the guest undoes the switch by itself if nobody confirms it; `current` on the host is unchanged; this can be tried again"
	door := r.door(p.to)
	g, err := door.Enter(ctx, p.to.Name, true)
	if err != nil {
		return p, err
	}
	p.guest = g
	if g.Facts, err = door.Look(ctx, g.Conn, r.visit(p, p.plan.Runner)); err != nil {
		return p, err
	}
	now := g.Facts
	if now.Switching == r.id || now.Armed == r.id {
		g.Facts.Current = p.attached.ran // what it ran before the switch
		return p.after(r.liveSwitch(p, p.guestSwitch(r.id)).Resume(ctx, p.standing.text))
	}
	if now.Switching != "" || now.Armed != "" {
		return p, errors.New("another deployment switches the guest meanwhile")
	}
	p.standing.open = false
	if now.Current == p.plan.System { // it was confirmed, and only the host does not know
		return p, nil
	}
	liveHost{r, p}.Observed(ctx, now.Current, false)
	return p.undoneAlone(ctx, r)
}

// undoneAlone ends a deployment that the guest has undone before anybody came back:
// it says why, as far as the guest still knows.
func (p progress) undoneAlone(ctx context.Context, r *run) (progress, error) {
	known, err := guest.Why(ctx, p.guest.Conn, r.id)
	if err != nil {
		r.say.Detail("why the guest has undone it is not known: %v", err)
	}
	now, ran := p.guest.Current(), cmp.Or(p.attached.ran, known.Previous)
	p.standing.undone = now != "" && now == ran
	p.standing.text = fmt.Sprintf("the guest has undone it by itself: it runs %s", live.OrUnknown(now))
	switch {
	case p.standing.undone:
	case ran == "":
		p.standing.text += "; what it ran before is not known"
	default:
		p.standing.text += "; before, it ran " + string(ran)
	}
	return p, live.UndoneByItself(p.to.Target.String(), cmp.Or(known.Why, "nobody has confirmed it"), known.Output)
}

// commitResumed commits what is confirmed only now. A restart was committed before.
func commitResumed(ctx context.Context, r *run, p progress) (progress, error) {
	if p.plan.Activation != hostapi.ActivateLive {
		return p, nil
	}
	return commit(ctx, r, p)
}
