package deploy

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// activateLive switches the running guest, and makes sure over a new connection
// that it runs the new system. `current` on the host is moved only then, by
// commit.
func (r *run) activateLive(ctx context.Context, p progress) (progress, error) {
	if p.plan.Activation != hostapi.ActivateLive {
		return p, nil
	}
	if p.guest == nil {
		return p, fmt.Errorf("the host wants to switch %s while it runs, though it was told that the guest can't be reached", p.to.Name)
	}
	if p.to.Action != hostapi.ActionDryActivate {
		c := p.liveCommit()
		p = r.remember(p, c)
		req := hostapi.ActivateRequest{Name: p.to.Name, Runner: p.plan.Runner, Commit: &c}
		if err := r.host.Call(ctx, hostapi.Request{Activate: &req}, nil); err != nil {
			return p, err
		}
	}
	sw := p.guestSwitch(r.id)
	if sw.RegInfo == "" { // a runner that carries no registration of its own
		reg, err := r.host.registration(ctx, p.plan.System)
		if err != nil {
			return p, err
		}
		sw.Registration = reg
	}
	return r.switchGuest(ctx, p, sw)
}

// switchGuest does the switch and has it confirmed, or undone.
func (r *run) switchGuest(ctx context.Context, p progress, sw guest.Switch) (progress, error) {
	s := r.liveSwitch(p, sw)
	if p.to.Action == hostapi.ActionDryActivate {
		return p, s.Rehearse(ctx)
	}
	return p.after(s.Run(ctx))
}

func (r *run) liveSwitch(p progress, sw guest.Switch) live.Switch {
	return live.Switch{
		VM: p.to.Name, Door: r.door(*p.to.Target, p.to.TargetSudo), Conn: p.guest.conn, Before: p.guest.facts,
		What: sw, Terms: p.to.Confirm.terms(), Host: liveHost{r, p}, Report: r.say, Attached: p.attached != nil,
	}
}

// after takes in how a live switch has ended.
func (p progress) after(o live.Outcome) (progress, error) {
	if o.BootID != "" {
		p.result.BootID = o.BootID
	}
	if o.Verdict == live.Confirmed {
		g := *p.guest
		g.facts.Current = p.plan.System
		p.guest, p.standing.open = &g, false
		return p, nil
	}
	p.standing.open, p.standing.undone, p.standing.text = o.Open, o.Verdict == live.Undone, o.State
	return p, o.Err
}

// liveHost is what a live switch needs of the host.
type liveHost struct {
	r *run
	p progress
}

// Check has the host make the VM's checks until all pass.
func (h liveHost) Check(ctx context.Context, until time.Time) error {
	r, to := h.r, h.p.to
	if to.Confirm.Checks.Empty() {
		return nil
	}
	if r.host.session == nil {
		r.say.Warn("%s: its checks are made on the host, which is not known; name it with --host", to.Name)
		return nil
	}
	r.say.Step("checking from %s", to.Host)
	call := func() error {
		left := max(1, int(time.Until(until).Round(time.Second).Seconds()))
		return r.host.Call(ctx, hostapi.Request{Check: &hostapi.CheckRequest{Name: to.Name, Checks: to.Confirm.Checks, Seconds: left}}, nil)
	}
	err := call()
	if isLost(err) {
		again, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		if _, err = r.host.resume(again, to.Name, r.id, err); err == nil {
			err = call()
		}
	}
	if ctx.Err() != nil {
		r.host.close() // its answer is still to come, and nobody waits for it
	}
	return err
}

// Observed tells the host what the guest runs, also where the connection to the
// host was lost meanwhile.
func (h liveHost) Observed(ctx context.Context, system microvm.StorePath, failed bool) {
	r := h.r
	if r.host.session == nil || system == "" || !h.p.attached.mayTell(system, h.p.plan.System) {
		return
	}
	err := r.observe(ctx, h.p.to.Name, system, failed)
	if isLost(err) {
		if _, err = r.host.resume(ctx, h.p.to.Name, r.id, err); err == nil {
			err = r.observe(ctx, h.p.to.Name, system, failed)
		}
	}
	if err != nil {
		r.say.Warn("the host could not note what the guest runs: %v", err)
	}
}

// observe tells the host what the guest runs, so that it is kept there.
func (r *run) observe(ctx context.Context, vm microvm.Name, system microvm.StorePath, failed bool) error {
	req := hostapi.ObserveRequest{Name: vm, System: system, Failed: failed}
	return r.host.Call(ctx, hostapi.Request{Observe: &req}, nil)
}

// liveOutcome is how a live switch ends well.
func liveOutcome(a hostapi.Action) Outcome {
	switch a {
	case hostapi.ActionTest:
		return OutcomeTested
	case hostapi.ActionDryActivate:
		return OutcomeDryActivated
	}
	return OutcomeSwitched
}
