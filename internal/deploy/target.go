package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

const (
	// observeWait is how much longer than the host a guest may take to say what it
	// runs, where nothing else is left to be done.
	observeWait = 2 * time.Second
	// glanceWait is the same before anything is changed. An answer that takes
	// longer is awaited again before the unit is touched, for sureWait.
	glanceWait = 3 * time.Second
	sureWait   = 15 * time.Second
)

// observe asks the guest before a deployment ends as unchanged: a hypervisor that
// boots it without ending, or a switch by hand, is nothing that the host sees.
// again plans with what the guest says.
func (r *run) observe(ctx context.Context, p progress, again func(context.Context, progress) (progress, error)) (progress, error) {
	if p.plan.Predicted || !p.plan.Nothing() || !p.facts.VM.Unit.Up() || p.to.Action == hostapi.ActionBoot {
		return p, nil
	}
	p.result.Observed, p.result.NotObserved = ObservedHost, ""
	switch k := r.guest; {
	case p.guest != nil || p.asked != "":
		p.result.Observed = ObservedGuest
		return p, nil
	case k == nil || !p.knocks():
		return p, nil
	case p.facts.Lock != nil && !p.standing.prepared:
		p.result.NotObserved = "another deployment is at work"
		return p, nil
	case !k.within(ctx, observeWait):
		p.result.NotObserved = fmt.Sprintf("the guest at %s did not answer in time", p.to.Target)
		return p, ctx.Err()
	case k.err != nil:
		p.result.NotObserved = firstLine(k.err)
		return p, nil
	case k.who.Current == "":
		p.result.NotObserved = fmt.Sprintf("the guest at %s runs a system outside the store", p.to.Target)
		return p, nil
	}
	if err := p.isOurs(r.guest.who); err != nil {
		return p, err
	}
	p.result.Observed = ObservedGuest
	if r.guest.who.Current == p.facts.VM.Running || p.facts.VM.Running == "" {
		return p, nil
	}
	p.asked = r.guest.who.Current
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
	wait := glanceWait
	if p.standing.prepared {
		wait = sureWait
	}
	if !r.guest.within(ctx, wait) {
		return p, ctx.Err()
	}
	if unplanned { // it may be left alone, or looked at more closely
		return p, r.isNotWrong(ctx, p)
	}
	err := r.isRight(ctx, p)
	p.met = err == nil
	return p, err
}

// isNotWrong is isRight where it isn't known yet what becomes of the VM.
func (r *run) isNotWrong(ctx context.Context, p progress) error {
	if err := p.neverRight(r.guest.err); err != nil || r.guest.err != nil || !p.facts.VM.Unit.Up() {
		return err
	}
	return r.isRunning(ctx, p)
}

// isRight judges what the guest, or whatever is there, has answered.
func (r *run) isRight(ctx context.Context, p progress) error {
	k, vm := r.guest, p.facts.VM
	if err := p.neverRight(k.err); err != nil {
		return err
	}
	switch {
	case !vm.Exists || vm.Unit.Stopped() || vm.Unit.ActiveState == "failed":
		return p.silent(k.who, k.err)
	case !vm.Unit.Up():
		return nil // on its way up or down: nobody knows what answers
	case k.err == nil:
		return r.isRunning(ctx, p)
	}
	return r.isRunningUnseen(ctx, p)
}

// neverRight refuses a target that no start of the VM can make right.
func (p progress) neverRight(err error) error {
	var ce *remote.ConnectError
	if !errors.As(err, &ce) {
		return nil
	}
	switch {
	case ce.NameUnknown() && !strings.HasSuffix(p.to.Target.Host, ".local"): // by mDNS a machine names itself
		return wrongTarget("the name of the target cannot be resolved: "+ce.Error(), nil)
	case ce.Kind == remote.ChangedHostKey, ce.Kind == remote.BadConfig:
		return wrongTarget("the target can't be logged in to: "+ce.Error(), ce)
	}
	return nil
}

// silent refuses a target where something answers though the VM is down.
func (p progress) silent(who guest.Identity, err error) error {
	what := fmt.Sprintf("it calls itself %.80q", who.HostName)
	var ce *remote.ConnectError
	if errors.As(err, &ce) {
		if ce.Kind != remote.AuthFailed && ce.Kind != remote.UnknownHostKey {
			return nil // nobody answers, or nobody knows who
		}
		what = ce.Error()
	} else if err != nil {
		what = firstLine(err)
	}
	return wrongTarget(fmt.Sprintf("%s does not run on %s, but a machine answers at %s: %s", p.to.Name, p.to.Host, p.to.Target, what), nil)
}

// isRunning refuses a machine that is not the VM, which runs.
func (r *run) isRunning(ctx context.Context, p progress) error {
	k := r.guest
	if err := p.isOurs(k.who); err != nil {
		return err
	}
	rec := p.knownRecord()
	if k.who.Current == p.facts.VM.Running || p.facts.VM.Booted == "" || rec == nil || !rec.SharesStore() {
		return nil
	}
	// Another VM of this name, on another host, doesn't see this one's store.
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil {
		return nil
	}
	who, err := guest.Ask(ctx, k.conn, p.facts.VM.Booted)
	if err != nil || who.HasStore {
		return ctx.Err()
	}
	return wrongTarget(fmt.Sprintf("the machine at %s does not see the /nix/store of %s, and does not run what %s runs there", p.to.Target, p.to.Host, p.to.Name), nil)
}

// isOurs refuses a machine that has neither the VM's name nor its system.
func (p progress) isOurs(who guest.Identity) error {
	want := p.plan.HostName
	if rec := p.knownRecord(); rec != nil {
		want = rec.HostName
	}
	if want == "" || who.HostName == want || who.Current != "" && who.Current == p.facts.VM.Running {
		return nil
	}
	return wrongTarget(fmt.Sprintf("the machine at %s calls itself %.80q, but %s is configured as %q", p.to.Target, who.HostName, p.to.Attribute, want), nil)
}

// isRunningUnseen is for a VM that runs and whose guest could not be asked without
// a question. A person may answer it; what can't be reached may be just why the
// VM is restarted.
func (r *run) isRunningUnseen(ctx context.Context, p progress) error {
	err := r.guest.err
	var ce *remote.ConnectError
	if errors.As(err, &ce) && ce.Kind != remote.Unreachable && ce.Kind != remote.Dropped {
		if err = r.askAgain(ctx, p); err == nil {
			return r.isRunning(ctx, p)
		}
		if errors.As(err, &ce) && ce.Kind == remote.UnknownHostKey {
			return wrongTarget("the target can't be logged in to: "+ce.Error(), ce)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	after := "the restart is undone unless it does afterwards"
	if p.to.Confirm.NoRollback {
		after = "the restart counts as failed unless it does afterwards"
	}
	r.say.Warn("%s: its guest does not let anybody in now (%s); %s", p.to.Name, firstLine(err), after)
	return nil
}

// askAgain logs in as a person does, who may be asked.
func (r *run) askAgain(ctx context.Context, p progress) error {
	conn, err := r.door(p.to).Dial(ctx, false)
	if err != nil {
		return err
	}
	who, err := guest.Ask(ctx, conn, "")
	if err != nil {
		_ = conn.Close()
		return err
	}
	r.guest.answer(conn, who)
	return nil
}

// wrongTarget is what stops a deployment before anything is touched.
// Where the login is to blame, that is the cause, and it says what to do.
func wrongTarget(message string, cause error) error {
	const next = "check the target's address; --no-guest goes on without looking there before"
	return hostapi.Refuse(message, cmp.Or(trouble.Hint(cause), next)).About(cmp.Or(trouble.Of(cause), trouble.WrongTarget))
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// boots is for how long a guest whose unit was started not long ago may still
// take; 0: it has had its time, or nobody knows.
func (p progress) boots() (since, left time.Duration) {
	unit, now := p.facts.VM.Unit, p.facts.Now
	if now.IsZero() {
		now = time.Now()
	}
	age, limit := now.Sub(unit.Since), p.to.Confirm.bootTime()
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
	if err == nil || left == 0 || !live.Transient(err) || p.neverRight(err) != nil || ctx.Err() != nil {
		return g, err
	}
	r.say.Step("waiting for %s to boot: its unit was started %s ago", p.to.Target, since.Round(time.Second))
	return r.door(p.to).OpenBooting(ctx, r.visit(p, probe), time.Now().Add(left))
}

func (r *run) openAtOnce(ctx context.Context, p progress, probe microvm.StorePath) (*live.Guest, error) {
	return r.door(p.to).Open(ctx, r.visit(p, probe))
}
