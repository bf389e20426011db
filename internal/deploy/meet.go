package deploy

import (
	"context"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/result"
	"ferry/internal/deploy/target"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// knocks reports whether the guest is to be asked who it is: the target is the
// operator's own, and what runs matters.
func (p progress) knocks() bool {
	rec := p.knownRecord()
	if rec != nil && (rec.SSH == nil || !*rec.SSH) {
		return false // nothing inside answers
	}
	if _, asksAnyway := p.wanted.(installed); asksAnyway || p.wanted == nil {
		return false
	}
	return p.to.Target != nil && !p.to.Recorded && !p.to.NoGuest && p.to.Action != hostapi.ActionBoot
}

// knock begins to ask the guest who it is.
func (r *run) knock(ctx context.Context, p progress) {
	r.guest.Close()
	if r.guest = nil; p.knocks() {
		r.guest = target.Begin(ctx, r.dial, *p.to.Target, p.to.TargetSudo)
	}
}

// sought is whom the deployment expects at the target.
func (p progress) sought() target.Sought {
	return target.Sought{
		Name: p.to.Name, Attribute: p.to.Attribute, Host: p.to.Host, Target: p.to.Target,
		Record: p.knownRecord(), HostName: p.plan.HostName, VM: p.facts.VM, NoRollback: p.to.Confirm.NoRollback,
	}
}

// meeting is that, and what has answered there.
func (r *run) meeting(p progress) target.Meeting {
	return target.Meeting{Sought: p.sought(), Knock: r.guest, Door: r.door(p.to), Report: r.say}
}

// observe asks the guest before a deployment ends as unchanged: a hypervisor that
// boots it without ending, or a switch by hand, is nothing that the host sees.
// again plans with what the guest says.
func (r *run) observe(ctx context.Context, p progress, again func(context.Context, progress) (progress, error)) (progress, error) {
	if p.plan.Predicted || !p.plan.Nothing() || !p.facts.VM.Unit.Up() || p.to.Action == hostapi.ActionBoot {
		return p, nil
	}
	p.result.Observed, p.result.NotObserved = result.ObservedHost, ""
	switch {
	case p.guest != nil || p.asked != "":
		p.result.Observed = result.ObservedGuest
		return p, nil
	case r.guest == nil || !p.knocks():
		return p, nil
	case p.facts.Lock != nil && !p.standing.prepared:
		p.result.NotObserved = "another deployment is at work"
		return p, nil
	}
	system, unknown, err := r.meeting(p).Observe(ctx)
	if p.result.NotObserved = unknown; err != nil || unknown != "" {
		return p, err
	}
	p.result.Observed = result.ObservedGuest
	if system == p.facts.VM.Running || p.facts.VM.Running == "" {
		return p, nil
	}
	p.asked = system
	r.sayRunning(p.asked)
	return again(ctx, p)
}

func (r *run) sayRunning(system microvm.StorePath) {
	r.say.Step("the guest runs %s, not what the host last knew of", microvm.SystemBaseName(string(system)))
}

// meetGuest finds a wrong target before anything is changed.
func meetGuest(ctx context.Context, r *run, p progress) (progress, error) {
	if p.mustWait() {
		return p, nil
	}
	return r.checkTarget(ctx, p)
}

// checkTarget makes sure that the machine behind the target is this VM's, or that
// nobody answers there where the VM is down, before the unit is touched: otherwise
// a VM would be installed, booted, awaited and undone for a slip of the pen. A
// guest that is switched live is looked at more closely by others.
func (r *run) checkTarget(ctx context.Context, p progress) (progress, error) {
	unplanned := p.plan.Activation == ""
	if p.met || p.guest != nil || p.facts.Protocol == 0 || !p.knocks() || !unplanned && !p.plan.Activation.Starts() {
		return p, nil
	}
	if r.guest == nil {
		r.knock(ctx, p)
	}
	wait := target.GlanceWait
	if p.standing.prepared {
		wait = target.SureWait
	}
	if !r.guest.Within(ctx, wait) {
		return p, ctx.Err()
	}
	if unplanned { // it may be left alone, or looked at more closely
		return p, r.meeting(p).NotWrong(ctx)
	}
	err := r.meeting(p).Right(ctx)
	p.met = err == nil
	return p, err
}

// boots is for how long a guest whose unit was started not long ago may still
// take; 0: it has had its time, or nobody knows.
func (p progress) boots() (since, left time.Duration) {
	unit, now := p.facts.VM.Unit, p.facts.Now
	if now.IsZero() {
		now = time.Now()
	}
	age, limit := now.Sub(unit.Since), p.to.Confirm.BootTime()
	if !unit.Up() || unit.Since.IsZero() || age < 0 || age >= limit {
		return 0, 0
	}
	return age, limit - age
}

// openGuest logs in and looks whether the guest can be switched. One that may
// still boot is waited for.
func (r *run) openGuest(ctx context.Context, p progress, probe microvm.StorePath) (*live.Guest, error) {
	g, err := r.openAtOnce(ctx, p, probe)
	since, left := p.boots()
	if err == nil || left == 0 || !live.Transient(err) || p.sought().NeverRight(err) != nil || ctx.Err() != nil {
		return g, err
	}
	r.say.Step("waiting for %s to boot: its unit was started %s ago", p.to.Target, since.Round(time.Second))
	return r.door(p.to).OpenBooting(ctx, r.visit(p, probe), time.Now().Add(left))
}

func (r *run) openAtOnce(ctx context.Context, p progress, probe microvm.StorePath) (*live.Guest, error) {
	return r.door(p.to).Open(ctx, r.visit(p, probe))
}
