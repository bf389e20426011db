package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"ferry/internal/guest"
	"ferry/internal/host"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

const (
	// guestReturn bounds how long a guest may be out of reach: after its unit
	// was restarted (a boot), or when its switch cut the connection.
	guestReturn = 3 * time.Minute
	guestPoll   = time.Second
	// maxRegistration bounds the registration of a closure, in bytes.
	maxRegistration = 64 << 20
)

// guestSide is the connection to the system inside the VM. A nil *guestSide is
// one that nobody asked.
type guestSide struct {
	conn  remote.Conn
	facts guest.Facts
	// open: a switch began and its outcome is not known.
	open bool
}

func (g *guestSide) current() microvm.StorePath {
	if g == nil {
		return ""
	}
	return g.facts.Current
}

func (g *guestSide) unsure() bool { return g != nil && g.open }

func (g *guestSide) close() {
	if g != nil && g.conn != nil {
		_ = g.conn.Close()
	}
}

// openGuest connects and looks whether this is the right machine, where a
// switch can work. Nothing is changed. probe: see guest.Look.
func (d *deployment) openGuest(ctx context.Context, probe microvm.StorePath) (*guestSide, error) {
	d.result.Target = d.req.Target.String()
	conn, err := d.dialGuest(ctx, false)
	if err != nil {
		return nil, &guestDownError{target: *d.req.Target, name: d.req.Name, err: err}
	}
	g := &guestSide{conn: conn}
	if err := conn.Root(ctx); err != nil {
		g.close()
		return nil, fmt.Errorf("the guest at %s: %w", d.req.Target, err)
	}
	if g.facts, err = guest.Look(ctx, conn, probe); err == nil {
		err = d.checkGuest(g.facts, probe)
	}
	if err == nil && g.facts.Switching != "" {
		err = d.awaitEarlierSwitch(ctx, g, probe)
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (d *deployment) dialGuest(ctx context.Context, fresh bool) (remote.Conn, error) {
	return remote.Dial(ctx, remote.Options{
		Address: *d.req.Target, Sudo: d.req.TargetSudo, Dir: d.SocketDir, AskPassword: d.AskPassword, Fresh: fresh,
	})
}

func (d *deployment) checkGuest(f guest.Facts, probe microvm.StorePath) error {
	want := d.record.HostName
	switch {
	case want != "" && f.HostName != want:
		return &RefusedError{
			Message: fmt.Sprintf("the machine at %s calls itself %.80q, but %s is configured as %q", d.req.Target, f.HostName, d.req.Attribute, want),
			Next:    "check the target's address",
		}
	case !f.Root:
		return &RefusedError{
			Message: fmt.Sprintf("the login at %s is not root", d.req.Target),
			Next:    "use root@…, or --target-sudo",
		}
	case !f.Systemd:
		return &RefusedError{
			Message: fmt.Sprintf("the machine at %s has no systemd-run", d.req.Target),
			Next:    "a live switch needs NixOS with systemd inside; otherwise use --restart=always",
		}
	case probe != "" && !f.HasStore:
		return &RefusedError{
			Message: fmt.Sprintf("the machine at %s does not see the host's /nix/store (%s is not there)", d.req.Target, probe),
			Next:    "check that the target is the VM on this host, and that it has booted with the store's share; --restart=always restarts instead",
		}
	}
	return nil
}

// switchLive switches the running guest, makes sure over a new connection that
// it runs the new system, and only then moves `current` on the host.
func (d *deployment) switchLive(ctx context.Context) error {
	trial := d.req.Action != host.ActionSwitch
	if d.req.Action != host.ActionDryActivate {
		if err := d.session.call(ctx, host.Request{Activate: &host.ActivateRequest{Name: d.req.Name, Runner: d.plan.Runner}}, nil); err != nil {
			return err
		}
	}
	sw := d.guestSwitch()
	if sw.RegInfo == "" {
		reg, err := d.registration(ctx)
		if err != nil {
			return err
		}
		sw.Registration = reg
	}
	if err := d.runInGuest(ctx, sw); err != nil {
		return err
	}
	if d.req.Action == host.ActionDryActivate {
		return d.finish(ctx, OutcomeDryActivated)
	}
	if trial {
		d.state = "the guest runs the new system; `current` and the profile are as they were"
		if err := d.observe(ctx, false); err != nil {
			return err
		}
		return d.finish(ctx, OutcomeTested)
	}
	d.state = "the guest runs the new system, but `current` on the host is the old runner: running the same command again finishes this"
	done, err := d.commit(ctx, host.CommitRequest{Install: d.plan.Install, Activation: host.ActivateLive, GuestSystem: d.plan.System})
	if err != nil {
		return err
	}
	d.result.Generation = done.Generation
	d.state = "switched and installed"
	return d.finish(ctx, OutcomeSwitched)
}

// runInGuest does the switch and confirms it.
func (d *deployment) runInGuest(ctx context.Context, sw guest.Switch) error {
	d.step("%s in %s: %s", sw.Action, d.req.Target, microvm.SystemBaseName(string(sw.System)))
	if err := guest.Start(ctx, d.guest.conn, sw); err != nil {
		d.guest.open = !isRefused(err)
		return err
	}
	d.guest.open = true
	d.state = fmt.Sprintf("the switch goes on in the guest as unit ferry-switch-%s; `current` on the host is unchanged; running the same command again settles it", sw.ID)
	status, err := d.follow(ctx, d.guest.conn, sw.ID)
	if err != nil {
		return err
	}
	if sw.Action == string(host.ActionDryActivate) {
		d.guest.open, d.state = false, nothingChanged
		return switchFailure(status, d.req.Target)
	}
	facts, err := d.confirm(ctx)
	if err != nil {
		return err
	}
	d.guest.open, d.guest.facts = false, facts
	d.result.BootID = facts.BootID
	failure := switchFailure(status, d.req.Target)
	if failure == nil && facts.Current != sw.System {
		failure = fmt.Errorf("after the switch the guest at %s runs %s instead of %s", d.req.Target, facts.Current, sw.System)
	}
	if failure != nil {
		d.state = fmt.Sprintf("the guest runs %s; `current` on the host is unchanged", orUnknown(facts.Current))
		if facts.Current != "" {
			if err := d.observe(ctx, true); err != nil {
				d.Report.Warn("the host could not note what the guest runs: %v", err)
			}
		}
	}
	return failure
}

// observe tells the host what the guest runs, so that it is kept there.
func (d *deployment) observe(ctx context.Context, failed bool) error {
	req := host.ObserveRequest{Name: d.req.Name, System: d.guest.current(), Failed: failed}
	return d.session.call(ctx, host.Request{Observe: &req}, nil)
}

// follow shows the switch's output until it ends, over new connections where
// the switch cut the old one (a new network configuration, say).
func (d *deployment) follow(ctx context.Context, shell guest.Shell, id string) (guest.Status, error) {
	log := d.Report.Log(d.subject())
	defer log.Close()
	var offset int64
	return backoff.Retry(ctx, func() (guest.Status, error) {
		if shell == nil {
			conn, err := d.dialGuest(ctx, true)
			if err != nil {
				return guest.Status{}, retryable(err)
			}
			defer conn.Close()
			shell = conn
		}
		status, n, err := guest.Follow(ctx, shell, id, offset, log)
		offset, shell = n, nil
		if err != nil {
			d.step("the connection to the guest was lost during the switch; connecting again")
			return status, retryable(err)
		}
		return status, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(guestPoll)), backoff.WithMaxElapsedTime(guestReturn))
}

// retryable makes errors that waiting can't cure final.
func retryable(err error) error {
	var ce *remote.ConnectError
	if errors.As(err, &ce) && (ce.Kind == remote.Unreachable || ce.Kind == remote.Dropped) {
		return err
	}
	return backoff.Permanent(err)
}

func switchFailure(s guest.Status, target *microvm.Address) error {
	switch {
	case s.Lost:
		return fmt.Errorf("the guest at %s was booted while it was being switched", target)
	case s.Died:
		return fmt.Errorf("the switch in the guest at %s was killed", target)
	case s.Code == 4:
		return fmt.Errorf("units failed in the guest at %s (exit status 4 of switch-to-configuration)", target)
	case s.Code != 0:
		return fmt.Errorf("switch-to-configuration in the guest at %s failed with exit status %d", target, s.Code)
	}
	return nil
}

// confirm asks the guest over a connection of its own what it runs.
func (d *deployment) confirm(ctx context.Context) (guest.Facts, error) {
	return backoff.Retry(ctx, func() (guest.Facts, error) {
		conn, err := d.dialGuest(ctx, true)
		if err != nil {
			return guest.Facts{}, retryable(err)
		}
		defer conn.Close()
		facts, err := guest.Look(ctx, conn, "")
		if err != nil {
			return facts, retryable(err)
		}
		return facts, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(guestPoll)), backoff.WithMaxElapsedTime(guestReturn))
}

var errOldSystem = errors.New("it does not run the new system")

// awaitGuest logs in after a restart, where the target is known, and finds the
// new system.
func (d *deployment) awaitGuest(ctx context.Context) error {
	if d.req.Target == nil || d.plan.System == "" || d.record.SSH == nil || !*d.record.SSH {
		return nil
	}
	d.result.Target = d.req.Target.String()
	d.step("waiting for %s to boot", d.req.Target)
	facts, err := backoff.Retry(ctx, func() (guest.Facts, error) {
		facts, err := d.confirm(ctx)
		if err == nil && facts.Current != d.plan.System {
			err = fmt.Errorf("%w but %s", errOldSystem, orUnknown(facts.Current))
		}
		return facts, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(guestPoll)), backoff.WithMaxElapsedTime(guestReturn))
	if err != nil {
		return fmt.Errorf("the guest at %s, after the restart: %w", d.req.Target, err)
	}
	d.result.BootID = facts.BootID
	return nil
}

// registration has the host dump what the system's closure is registered with,
// for runners that carry no registration of their own.
func (d *deployment) registration(ctx context.Context) (io.Reader, error) {
	p, _, err := remote.StartHelper(ctx, d.host, []string{"host", "registration", string(d.plan.System)})
	if err != nil {
		return nil, err
	}
	_ = p.Stdin.Close()
	var buf bytes.Buffer
	_, err = io.Copy(&buf, io.LimitReader(p.Stdout, maxRegistration))
	if werr := p.Wait(); werr != nil {
		return nil, fmt.Errorf("reading the registration of %s: %w", d.plan.System, werr)
	}
	return &buf, err
}

func isRefused(err error) bool {
	var r *guest.RefusedError
	return errors.As(err, &r)
}

func orUnknown(p microvm.StorePath) string {
	if p == "" {
		return "a system outside the store"
	}
	return string(p)
}
