package deploy

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// guestAsked bounds a question to a guest whose answer is not needed.
const guestAsked = 15 * time.Second

// guestSide is the system inside the VM, as it was when it was looked at, and the
// login that is kept for the switch. A nil *guestSide is one that nobody asked.
type guestSide struct {
	conn  live.Conn
	facts guest.Facts
}

func (g *guestSide) current() microvm.StorePath {
	if g == nil {
		return ""
	}
	return g.facts.Current
}

func (g *guestSide) close() {
	if g != nil && g.conn != nil {
		_ = g.conn.Close()
	}
}

// openGuest logs in and looks whether this is the right machine, where a switch
// can work. Nothing is changed, but what an earlier deployment has begun there is
// waited for. probe: see guest.Look.
func (r *run) openGuest(ctx context.Context, p progress, probe microvm.StorePath) (*guestSide, error) {
	g, err := r.logIn(ctx, p.to, false)
	if err != nil {
		return nil, err
	}
	g.facts, err = p.look(ctx, g.conn, probe)
	if err == nil && (g.facts.Switching != "" || g.facts.Armed != "") {
		err = live.Earlier{
			Door: r.door(*p.to.Target, p.to.TargetSudo), Conn: g.conn, Facts: g.facts, Report: r.say, OnlySay: p.to.DryRun,
		}.Await(ctx)
		if err == nil && !p.to.DryRun {
			g.facts, err = guest.Look(ctx, g.conn, probe)
		}
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// logIn connects to the guest, as root.
func (r *run) logIn(ctx context.Context, to Resolved, fresh bool) (*guestSide, error) {
	conn, err := r.dial(ctx, remote.Options{Address: *to.Target, Sudo: to.TargetSudo, Fresh: fresh})
	if err != nil {
		return nil, &guestDownError{target: *to.Target, name: to.Name, err: err}
	}
	if err := conn.Root(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("the guest at %s: %w", to.Target, err)
	}
	return &guestSide{conn: conn}, nil
}

// look asks the guest what it is, and refuses one where no switch can work.
func (p progress) look(ctx context.Context, sh guest.Shell, probe microvm.StorePath) (guest.Facts, error) {
	f, err := guest.Look(ctx, sh, probe)
	if err != nil {
		return f, err
	}
	want := p.record.HostName
	switch {
	case want != "" && f.HostName != want:
		return f, &RefusedError{
			Message: fmt.Sprintf("the machine at %s calls itself %.80q, but %s is configured as %q", p.to.Target, f.HostName, p.to.Attribute, want),
			Next:    "check the target's address",
		}
	case !f.Root:
		return f, &RefusedError{
			Message: fmt.Sprintf("the login at %s is not root", p.to.Target),
			Next:    "use root@…, or --target-sudo",
		}
	case !f.Systemd:
		return f, &RefusedError{
			Message: fmt.Sprintf("the machine at %s has no systemd-run", p.to.Target),
			Next:    "a live switch needs NixOS with systemd inside; otherwise use --restart=always", OnlyLive: true,
		}
	case probe != "" && !f.HasStore:
		return f, &RefusedError{
			Message: fmt.Sprintf("the machine at %s does not see the host's /nix/store (%s is not there)", p.to.Target, probe),
			Next:    "check that the target is the VM on this host, and that it has booted with the store's share; --restart=always restarts instead", OnlyLive: true,
		}
	}
	return f, nil
}
