package deploy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path"
	"strings"
	"time"
	"unicode"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/restart"
	"ferry/internal/deploy/result"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// activateLive switches the running guest, and makes sure over a new connection
// that it runs the new system. `current` on the host is moved only then, by
// commit.
func activateLive(ctx context.Context, r *run, p progress) (progress, error) {
	if p.plan.Activation != hostapi.ActivateLive {
		return p, nil
	}
	if p.guest == nil {
		return p, fmt.Errorf("the host wants to switch %s while it runs, though it was told that the guest can't be reached", p.to.Name)
	}
	sw := p.guestSwitch(r.id)
	var err error
	if sw, err = r.vouched(ctx, p, sw); err != nil {
		return p, err
	}
	if p.to.Action != hostapi.ActionDryActivate {
		c := p.liveCommit()
		p = r.remember(p, c)
		req := hostapi.ActivateRequest{Name: p.to.Name, Runner: p.plan.Runner, Commit: &c}
		if err := r.host.Call(ctx, hostapi.Request{Activate: &req}, nil); err != nil {
			return p, err
		}
	}
	return r.switchGuest(ctx, p, sw)
}

// vouched adds to a switch what the host says about the new system's closure, and
// what shows that the guest is this host's: it must see a path that the host has made
// for this switch. So what a host says reaches only guests in which it is root anyway.
func (r *run) vouched(ctx context.Context, p progress, sw guest.Switch) (guest.Switch, error) {
	var err error
	if sw.Token, err = r.host.Token(ctx); err != nil {
		return sw, err
	}
	if sw.RegInfo != "" {
		return sw, checkRegInfo(sw.RegInfo)
	}
	// A runner that carries no registration of its own.
	reg, err := r.host.Registration(ctx, p.plan.System)
	if err != nil {
		return sw, err
	}
	text, err := nix.CheckRegistration(reg, p.plan.System)
	if err != nil {
		return sw, fmt.Errorf("what %s says its store has registered: %w", p.to.Host, err)
	}
	sw.Registration = bytes.NewReader(text)
	return sw, nil
}

// checkRegInfo refuses what is not a file below a store path.
func checkRegInfo(file string) error {
	top, below, _ := strings.Cut(strings.TrimPrefix(file, microvm.StoreDir+"/"), "/")
	_, err := microvm.ParseStorePath(microvm.StoreDir + "/" + top)
	if err != nil || path.Clean(file) != file || strings.ContainsFunc(below, unicode.IsControl) || !strings.HasPrefix(file, microvm.StoreDir+"/") {
		return fmt.Errorf("the registration of the new system is not a file of the store: %.120q", file)
	}
	return nil
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
	sw.By = Operator()
	return live.Switch{
		VM: p.to.Name, Door: r.door(p.to), Conn: p.guest.Conn, Before: p.guest.Facts,
		What: sw, Terms: p.to.Confirm.Terms(), Host: liveHost{r, p}, Report: r.say, Attached: p.attached != nil,
	}
}

// after takes in how a live switch has ended.
func (p progress) after(o live.Outcome) (progress, error) {
	if o.BootID != "" {
		p.result.BootID = o.BootID
	}
	p.result.LastResort = o.LastResort
	if o.Verdict == live.Confirmed {
		g := *p.guest
		g.Facts.Current = p.plan.System
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
	checks := h.p.to.Confirm.Checks
	if checks.Empty() {
		return nil
	}
	if !h.r.host.Known() {
		h.r.say.Warn("%s: its checks are made on the host, which is not known; name it with --host", h.p.to.Name)
		return nil
	}
	return h.r.host.Check(ctx, checks, until)
}

// Observed tells the host what the guest runs, where it may learn that.
func (h liveHost) Observed(ctx context.Context, system microvm.StorePath, failed bool) {
	if h.r.host.Known() && system != "" && h.p.attached.mayTell(system, h.p.plan.System) {
		h.r.host.Observed(ctx, system, failed)
	}
}

// Reboot has the host restart the VM, where it finds that it must.
func (h liveHost) Reboot(ctx context.Context, ran microvm.StorePath) (hostapi.Rebooted, error) {
	return h.r.host.Reboot(ctx, hostapi.RebootRequest{ID: h.r.id, Ran: ran, Seconds: int(restart.Within.Seconds())})
}

// Named is the host's address, where it is known.
func (h liveHost) Named() string {
	if !h.r.host.Known() {
		return ""
	}
	return h.p.to.Host.String()
}

// guestDoor is where the host may find the guest: nil where that can't be told.
func (r *run) guestDoor(ctx context.Context, p progress) *hostapi.GuestDoor {
	if p.to.Target == nil || p.to.Confirm.NoRollback {
		return nil
	}
	find := r.tools.endpoint
	if find == nil {
		find = remote.Endpoint
	}
	host, port, err := find(ctx, *p.to.Target)
	if err != nil {
		r.say.Detail("whether the host can reach the guest is not found out: %v", err)
		return nil
	}
	if ip := net.ParseIP(host); (ip != nil && ip.IsLoopback() || host == "localhost") && !p.to.Host.Local {
		return nil // a port that is forwarded here leads elsewhere there
	}
	return &hostapi.GuestDoor{Host: host, Port: port, NoRestart: p.intent.Restart == hostapi.RestartNever}
}

// liveOutcome is how a live switch ends well.
func liveOutcome(a hostapi.Action) result.Outcome {
	switch a {
	case hostapi.ActionTest:
		return result.OutcomeTested
	case hostapi.ActionDryActivate:
		return result.OutcomeDryActivated
	}
	return result.OutcomeSwitched
}
