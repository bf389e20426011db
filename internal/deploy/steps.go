package deploy

import (
	"context"
	"errors"
	"time"

	"ferry/internal/deploy/hostlink"
	"ferry/internal/deploy/live"
	"ferry/internal/deploy/request"
	"ferry/internal/deploy/restart"
	"ferry/internal/deploy/result"
	"ferry/internal/deploy/target"
	"ferry/internal/deploy/transfer"
	"ferry/internal/flake"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// step is a part of a deployment: it gets what is known, and returns what is
// known after it, also where it fails.
type step struct {
	name string
	do   func(context.Context, *run, progress) (progress, error)
}

// steps are a deployment, in order. Which runner is wanted decides how some of
// them go; any may find that nothing is left to be done.
var steps = []step{
	{"resolve", of(wanted.resolve)},
	{"connect to the host", connect},
	{"find the runner", of(wanted.find)},
	{"foresee", of(wanted.foresee)},
	{"meet the guest", meetGuest},
	{"prepare", prepare},
	{"obtain the runner", of(wanted.obtain)},
	{"decide", of(wanted.decide)},
	{"activate live", activateLive},
	{"commit", commit},
	{"look inside", lookInside},
	{"finish", finish},
}

// attachSteps are what is left of a deployment that another process has begun.
var attachSteps = []step{
	{"connect to the host", connect},
	{"find the deployment", findLeft},
	{"take over", takeOver},
	{"resume live", resumeLive},
	{"commit", commitResumed},
	{"look inside", lookInside},
	{"finish", finish},
}

// of is a step that the wanted runner decides.
func of(do func(wanted, context.Context, *run, progress) (progress, error)) func(context.Context, *run, progress) (progress, error) {
	return func(ctx context.Context, r *run, p progress) (progress, error) { return do(p.wanted, ctx, r, p) }
}

// run is one deployment under way: who it is, and what it works with. What is
// known of the VM is in progress.
type run struct {
	*Deployer
	id    string
	began time.Time
	say   *voice
	host  *hostlink.Link
	guest *target.Knock // at the target; nil: it is not asked, or only by a closer look
}

// progress is what is known of a deployment between two steps.
type progress struct {
	to     request.Resolved
	wanted wanted
	// record, flake and revision are of the configuration, as far as anybody has
	// evaluated it.
	record          microvm.Record
	flake, revision string
	given           *flake.Given // where it was evaluated before; nil: by ferry
	// runner is the one that is to be deployed, generation the existing one that
	// it is; 0: a new one.
	runner     microvm.StorePath
	generation int

	facts  hostapi.Facts
	intent hostapi.Intent
	plan   hostapi.Plan
	guest  *live.Guest // nil: nobody has looked at it closely
	// asked is what the guest said that it runs, where that was asked only.
	asked microvm.StorePath
	met   bool // the target was found right, or can't be told
	// reason: why the unit is restarted though the system could be switched.
	reason string
	before restart.Units
	// deadline is when the host undoes what it has started.
	deadline time.Time
	attached *attached // another process began it; else nil
	place    transfer.Place
	repeat   string // the command that does the same; empty: the same command

	standing standing
	result   result.Result
	done     bool // nothing is left to be done
}

// standing is how far a deployment has gone, for whoever ends it.
type standing struct {
	text     string // how things are
	prepared bool   // the host has it
	undone   bool   // what had been changed was put back
	ended    bool   // the host has closed it already
	open     bool   // a switch began in the guest and its outcome is not known
	kept     bool   // this machine remembers it
}

// carryOut goes through the steps of one deployment.
func (d *Deployer) carryOut(ctx context.Context, req request.Deploy, w wanted, shared remote.Conn) (*result.Result, error) {
	r, p := d.begin(req, w)
	return r.through(ctx, steps, p, shared)
}

func (d *Deployer) begin(req request.Deploy, w wanted) (*run, progress) {
	r := &run{Deployer: d, id: newID(), began: time.Now().UTC()}
	p := progress{to: request.Resolve(req, flake.Fleet{}), wanted: w, standing: standing{text: hostlink.NothingChanged}}
	p.intent = p.to.Intent()
	r.say = &voice{to: d.Report, vm: p.to.Name}
	p.result = result.Result{VM: p.to.Name, Deployment: r.id, Action: req.Action}
	return r, p
}

func (r *run) through(ctx context.Context, list []step, p progress, shared remote.Conn) (*result.Result, error) {
	r.host = r.link(p.to)
	r.host.Shared = shared
	var err error
	for _, s := range list {
		if r.tools.entered != nil {
			r.tools.entered(s.name)
		}
		if p, err = s.do(ctx, r, p); err != nil || p.done {
			break
		}
	}
	p, err = r.end(ctx, p, err)
	p.guest.Close()
	r.guest.Close()
	if p.place.Builder != nil {
		_ = p.place.Builder.Close()
	}
	r.host.Close()
	return &p.result, err
}

// end closes a deployment: where a step went wrong, the host writes it down, and
// the user learns how things are.
func (r *run) end(ctx context.Context, p progress, err error) (progress, error) {
	p.result.Seconds = time.Since(r.began).Seconds()
	if err == nil {
		r.forget(p)
		return p, nil
	}
	var failure *hostapi.Failure
	if p.repeat != "" && p.standing.text != hostlink.NothingChanged {
		p.standing.text += " (to repeat it: " + p.repeat + ")"
	}
	if errors.As(err, &failure) && failure.State != "" { // the host has dealt with it
		p.standing.text, p.standing.undone, p.standing.ended = failure.State, failure.RolledBack, true
	}
	p.result.Outcome = result.OutcomeFailed
	if p.standing.undone {
		p.result.Outcome = result.OutcomeRolledBack
	}
	if ctx.Err() != nil {
		err = remote.Interrupted(ctx, "")
	}
	if r.closed(ctx, p, err) {
		r.forget(p)
	}
	failed := &Error{VM: p.to.Name, State: p.standing.text, Err: err, RolledBack: p.standing.undone}
	p.result.Error, p.result.State, p.result.See = err.Error(), p.standing.text, failed.Section()
	return p, failed
}

// closed has the host close a deployment that failed, and reports whether it has.
func (r *run) closed(ctx context.Context, p progress, err error) bool {
	s := p.standing
	switch {
	case s.ended || !r.host.Alive():
		return s.ended && r.host.Alive()
	case !s.prepared || s.open || (ctx.Err() != nil && !s.undone):
		return false
	}
	return r.host.Failed(ctx, string(p.result.Outcome), p.attached.forHost(err)) == nil
}

// forget drops what this machine remembers of a deployment that has ended.
func (r *run) forget(p progress) {
	if p.standing.kept {
		r.memory().Forget()
	}
}

// connect logs in to the host and starts the helper. The guest is asked meanwhile.
func connect(ctx context.Context, r *run, p progress) (progress, error) {
	if err := p.to.NeedHost(); err != nil {
		return p, err
	}
	p.result.Host = p.to.Host.String()
	shared := r.host.Shared
	r.host = r.link(p.to)
	r.host.Shared = shared
	r.knock(ctx, p)
	return p, r.host.Connect(ctx)
}

// guestSystem is what the guest says it runs; empty: nobody has asked. Only one that
// was looked at closely is known to run it from the host's store.
func (p progress) guestSystem() microvm.StorePath {
	if p.guest != nil {
		return p.guest.Current()
	}
	return p.asked
}

// prepare takes the VM's lock and has what will come rooted. Where another
// deployment had the lock meanwhile, what was seen before may be different.
func prepare(ctx context.Context, r *run, p progress) (progress, error) {
	req := p.wanted.claim(p)
	req.Name, req.GuestSystem, req.WaitSeconds = p.to.Name, p.guest.Current(), int(p.to.Wait.Seconds())
	req.Settle = p.to.Settle
	req.Guest = r.guestDoor(ctx, p)
	d := &req.Deployment
	d.ID, d.By, d.Started, d.Action = r.id, Operator(), r.began, p.to.Action
	if p.to.Target != nil {
		d.Target, d.TargetSudo = p.to.Target.String(), p.to.TargetSudo
	}
	var answer hostapi.Prepared
	if err := r.host.Call(ctx, hostapi.Request{Prepare: &req}, &answer); err != nil {
		return p, err
	}
	p.standing.prepared = true
	r.say.Detail("the host has Nix %s", answer.NixVersion)
	if !answer.Waited {
		return p, nil
	}
	p.guest.Close() // it is asked again when the decision needs it
	p.guest, p.asked, p.met = nil, "", false
	r.knock(ctx, p)
	return p.wanted.reprobe(ctx, r, p)
}

// mustWait: another deployment works on the VM, and the user waits for it to
// end. What is there now will not be there then, so it is not looked at closely.
func (p progress) mustWait() bool {
	return p.facts.Lock != nil && p.to.Wait > 0 && !p.to.DryRun && !p.standing.prepared
}

// knownRecord is the runner's record, or nil where ferry has evaluated none.
func (p progress) knownRecord() *microvm.Record {
	if p.record.Runner.Drv == "" {
		return nil
	}
	return &p.record
}

// guestSwitch is the switch in the guest that this deployment makes.
func (p progress) guestSwitch(id string) guest.Switch {
	return guest.Switch{
		ID: id, System: p.plan.System, Action: string(p.to.Action), HostName: p.plan.HostName, RegInfo: p.plan.RegInfo,
	}
}

// nothingLeft ends a deployment that has nothing to do, or was only to say what
// it would do.
func (p progress) nothingLeft() progress {
	p.result.FromPlan(p.plan)
	p.result.Outcome, p.done = result.OutcomeUnchanged, true
	if p.to.DryRun {
		p.result.Outcome = result.OutcomeDryRun
	} else {
		p.result.Notes = p.startNotes()
	}
	if p.guest != nil {
		p.result.Observed = result.ObservedGuest
	}
	return p
}

func systemOut(r *microvm.Record) microvm.StorePath {
	if r.System == nil {
		return ""
	}
	return r.System.Out
}
