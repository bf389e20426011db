package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/guest"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// Guest is the system inside a VM, as it was when it was looked at, and the login
// that is kept for the switch. A nil *Guest is one that nobody has asked.
type Guest struct {
	Conn  Conn
	Facts guest.Facts
}

// Current is what it said it runs.
func (g *Guest) Current() microvm.StorePath {
	if g == nil {
		return ""
	}
	return g.Facts.Current
}

// Close ends the login.
func (g *Guest) Close() {
	if g != nil && g.Conn != nil {
		_ = g.Conn.Close()
	}
}

// Visit says which guest is expected behind a door, and what is done there.
type Visit struct {
	VM, Attribute microvm.Name // for messages
	HostName      string       // what it must call itself; empty: see Known
	// Known says whether this is the guest where the configuration has no host name;
	// nil: it never is.
	Known   func(guest.Facts) bool
	Probe   microvm.StorePath // of the host's store: see guest.Look
	Report  Reporter
	OnlySay bool // do not wait for an earlier switch
}

// Open logs in and looks whether this is the right machine, where a switch can
// work. Nothing is changed, but what an earlier deployment has begun there is
// waited for.
func (d Door) Open(ctx context.Context, v Visit) (*Guest, error) {
	g, err := d.Enter(ctx, v.VM, false)
	if err != nil {
		return nil, err
	}
	g.Facts, err = d.Look(ctx, g.Conn, v)
	if err == nil && (g.Facts.Switching != "" || g.Facts.Armed != "") {
		err = earlier{door: d, conn: g.Conn, facts: g.Facts, report: v.Report, onlySay: v.OnlySay}.await(ctx)
		if err == nil && !v.OnlySay {
			g.Facts, err = guest.Look(ctx, g.Conn, v.Probe)
		}
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// OpenBooting is Open for a guest that may still boot: what is not there yet is
// waited for, at most until the given time.
func (d Door) OpenBooting(ctx context.Context, v Visit, until time.Time) (*Guest, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	var last error
	for {
		g, err := d.Open(ctx, v)
		switch {
		case err == nil:
			return g, nil
		case ctx.Err() != nil && last != nil:
			return nil, last
		case !Transient(err):
			return nil, err
		}
		last = err
		select {
		case <-ctx.Done():
			return nil, last
		case <-time.After(Poll):
		}
	}
}

// Enter logs in as root; fresh: see Door.
func (d Door) Enter(ctx context.Context, vm microvm.Name, fresh bool) (*Guest, error) {
	conn, err := d.Dial(ctx, fresh)
	if err != nil {
		return nil, &DownError{target: d.Address, vm: vm, err: err}
	}
	if err := conn.Root(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("the guest at %s: %w", d.Address, err)
	}
	return &Guest{Conn: conn}, nil
}

// Look asks the guest what it is, and refuses one where no switch can work.
func (d Door) Look(ctx context.Context, sh guest.Shell, v Visit) (guest.Facts, error) {
	f, err := guest.Look(ctx, sh, v.Probe)
	if err != nil {
		return f, err
	}
	switch {
	case v.HostName != "" && f.HostName != v.HostName:
		return f, &UnfitError{
			Message: fmt.Sprintf("the machine at %s calls itself %.80q, but %s is configured as %q", d.Address, f.HostName, v.Attribute, v.HostName),
			Next:    "check the target's address", About: trouble.WrongTarget,
		}
	case v.HostName == "" && (v.Known == nil || !v.Known(f)):
		return f, &UnfitError{
			Message: fmt.Sprintf("%s is configured without a host name, and nothing else shows that the machine at %s is it", v.Attribute, d.Address),
			Next:    "set networking.hostName; --restart=always restarts it without asking that machine", About: trouble.WrongTarget,
		}
	case !f.Root:
		return f, &UnfitError{
			Message: fmt.Sprintf("the login at %s is not root", d.Address),
			Next:    "use root@…, or --target-sudo", About: trouble.Sudo,
		}
	case !f.Systemd:
		return f, &UnfitError{
			Message: fmt.Sprintf("the machine at %s has no systemd-run", d.Address),
			Next:    "a live switch needs NixOS with systemd inside; otherwise use --restart=always", OnlyLive: true,
		}
	case v.Probe != "" && !f.HasStore:
		return f, &UnfitError{
			Message: fmt.Sprintf("the machine at %s does not see the host's /nix/store (%s is not there)", d.Address, v.Probe),
			Next:    "check that the target is the VM on this host, and that it has booted with the store's share; --restart=always restarts instead", OnlyLive: true,
			About: trouble.StoreNotShared,
		}
	}
	return f, nil
}

// UnfitError is a machine that can't be switched.
type UnfitError struct {
	Message, Next string
	// OnlyLive: only a live switch is impossible.
	OnlyLive bool
	About    trouble.Section
}

func (e *UnfitError) Error() string { return e.Message }

// Section is the section of docs/troubleshooting.md about it.
func (e *UnfitError) Section() trouble.Section { return e.About }

// Hint is what to do next.
func (e *UnfitError) Hint() string { return e.Next }

// DownError is a guest that can't be reached for a live switch.
type DownError struct {
	target microvm.Address
	vm     microvm.Name
	err    error
}

func (e *DownError) Error() string {
	return fmt.Sprintf("the guest at %s can't be reached: %v", e.target, e.err)
}
func (e *DownError) Unwrap() error { return e.err }

// Hint is what to do next.
func (e *DownError) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.err, &h) && h.Hint() != "" {
		return h.Hint() + "; --restart=always restarts the VM instead of switching it live"
	}
	return "check the VM (journalctl -u " + e.vm.Unit() + " on the host); --restart=always restarts it instead of switching it live"
}
