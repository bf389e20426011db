//go:build lab

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/lab"
)

// What a VM of a way is.
const (
	process   = "process"
	container = "container"
	qemu      = "QEMU"
)

// trial is one fault at one moment of one deployment.
type trial struct {
	way   *way
	step  string // the step that is held, or in words what is under way
	where place  // it is held; nowhere: nothing is
	fault fault
	// before is done before the deployment begins, after when it has ended, cleanup
	// when all has been checked; the subject is given up then.
	before, after, cleanup func(ctx context.Context, s *subject) error
	args                   []string // besides the way's
	env                    []string // of the ferry that is disturbed
	// ends is the only state that it may end in; empty: A or B.
	ends string
	says string // what ferry must say; empty: nothing in particular
	// unnoted: the host knows nothing of the deployment yet.
	unnoted bool
	// once: what can't come up is not tried a second time, where that takes long.
	once bool
	// down: somebody has stopped the VM, which is to stay so until somebody starts it.
	down bool
}

func (t trial) String() string {
	return fmt.Sprintf("%s/%s/%s/%s", t.way.name, t.step, t.fault.name, t.way.machine)
}

// attempt is a trial under way.
type attempt struct {
	*subject
	t                   trial
	before, after, last *state
	ran, again, once    *ran // the disturbed run, the same again, and once more
	end                 string
	violations          []string
}

func (a *attempt) violation(format string, args ...any) {
	a.violations = append(a.violations, fmt.Sprintf(format, args...))
}

// try does one trial. The row's Lab says what kept it from being done at all.
func (l *lane) try(ctx context.Context, t trial) row {
	began := time.Now()
	r := row{Trial: t.String(), Way: t.way.name, Step: t.step, Fault: t.fault.name, Machine: t.way.machine, Host: l.host.Name, End: "?", ExitCode: -1}
	a := &attempt{t: t, end: "?"}
	var err error
	if a.subject, err = l.subjectOf(ctx, t.way); err == nil {
		if err = a.disturb(ctx); err == nil {
			r.Seconds = time.Since(began).Seconds()
			err = a.examine(ctx)
		}
	}
	if t.cleanup != nil && a.subject != nil {
		if cerr := errors.Join(t.cleanup(ctx, a.subject), l.host.ForgetVM(ctx, a.name)); cerr != nil {
			err = errors.Join(err, fmt.Errorf("cleaning up: %w", cerr))
		}
		delete(l.subjects, t.way.name)
	}
	if err != nil {
		r.Lab = err.Error()
	}
	r.End, r.Violations, r.Total = a.end, a.violations, time.Since(began).Seconds()
	if a.ran != nil {
		r.ExitCode = a.ran.code
	}
	if len(a.violations) > 0 || err != nil {
		r.Output = a.output()
		l.abandon(ctx, t.way)
	}
	return r
}

// abandon gives a subject up whose state can't be relied on; the next trial has a
// new one.
func (l *lane) abandon(ctx context.Context, w *way) {
	if s := l.subjects[w.name]; s != nil && l.host.Running() {
		_ = s.letGo(ctx, onHost)
	}
	delete(l.subjects, w.name)
}

// disturb deploys revision B, has the fault happen, and waits until ferry has
// ended and nothing works on the VM any more.
func (a *attempt) disturb(ctx context.Context) (err error) {
	if err := errors.Join(a.start(ctx), a.playedByGuest(ctx)); err != nil {
		return err
	}
	if a.before, err = a.look(ctx); err != nil {
		return err
	}
	a.rev++
	if err := a.revise(ctx, a.deployed()); err != nil {
		return err
	}
	agree := a.follow(ctx)
	err = errors.Join(a.run(ctx), agree())
	if err != nil {
		return err
	}
	return a.settled(ctx)
}

// deployed is the configuration that the disturbed deployment brings.
func (a *attempt) deployed() func(string, int) string {
	if a.way.bad != nil {
		return a.way.bad
	}
	return a.way.module
}

func (a *attempt) run(ctx context.Context) error {
	if a.t.before != nil {
		if err := a.t.before(ctx, a.subject); err != nil {
			return err
		}
	}
	if a.t.where != nowhere {
		if err := a.hold(ctx, a.t.where, a.t.step); err != nil {
			return err
		}
	}
	done := make(chan *ran, 1)
	go func() { done <- a.ferryWith(ctx, a.t.env, a.command()...) }()
	err := a.inflictOn(ctx, done)
	a.ran = <-done
	if a.t.after != nil {
		err = errors.Join(err, a.t.after(ctx, a.subject))
	}
	return err
}

func (a *attempt) command() []string { return append(a.args(), a.t.args...) }

// inflictOn waits until the deployment is held, and lets the fault happen.
func (a *attempt) inflictOn(ctx context.Context, done chan *ran) error {
	if a.t.where == nowhere {
		if a.t.fault.inflict == nil {
			return nil
		}
		return a.t.fault.inflict(ctx, a.subject, held{})
	}
	hctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reached := make(chan held, 1)
	go func() {
		if h, err := a.awaitHeld(hctx, a.t.where); err == nil {
			reached <- h
		}
	}()
	select {
	case h := <-reached:
		return a.t.fault.inflict(ctx, a.subject, h)
	case r := <-done:
		done <- r
	}
	// What stands by may reach the step after the operator's end.
	late, stop := lab.WithPatience(ctx, reachLimit)
	defer stop()
	select {
	case h := <-reached:
		return a.t.fault.inflict(ctx, a.subject, h)
	case <-late.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.violation("the step %s was never reached", a.t.step)
		return a.letGo(ctx, a.t.where)
	}
}

// reachLimit is how long after ferry's end a step may still be reached, in patience.
const reachLimit = 20 * time.Second

// settleLimit is how long the host and the guest may be busy after ferry's end.
const settleLimit = 4 * time.Minute

// settled waits until nothing of ferry works on the VM and it runs. It starts it
// only where the host's death has stopped it for good.
func (a *attempt) settled(ctx context.Context) error {
	const quiet = `{ flock -n "/var/lib/ferry/locks/$1" true 2>/dev/null || [ ! -e "/var/lib/ferry/locks/$1" ]; } &&
		[ -z "$(systemctl list-units --plain --no-legend 'ferry-*' --state=active,activating,deactivating,reloading | grep -v '^ferry-settle\.service ')" ] && ! systemctl list-jobs --no-legend | grep -q "microvm@$1"`
	agree := a.follow(ctx)
	err := until(ctx, settleLimit, func() error {
		_, err := a.on(ctx, onHost, quiet, a.name)
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("ferry goes on working on the host: %w", err), agree())
	}
	switch {
	case a.t.down && a.again == nil:
		if now, err := a.invocation(ctx); err != nil || now != "" {
			a.violation("the VM was stopped, and runs again (%v)", err)
		}
	case !a.nobodyStarts():
		if err := a.up(ctx); err != nil {
			a.violation("%v", err)
		}
	}
	if err := errors.Join(a.start(ctx), agree()); err != nil || a.way.target == "" {
		return err
	}
	err = until(ctx, settleLimit, func() error {
		st := &state{}
		if err := a.lookInside(ctx, st); err != nil {
			return err
		}
		if len(st.guestUnits) > 0 {
			return fmt.Errorf("units of ferry: %v", st.guestUnits)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ferry goes on working in the guest: %w", err)
	}
	return nil
}

// nobodyStarts reports whether the host has died that does not start the VM.
func (a *attempt) nobodyStarts() bool { return a.t.fault.killsHost && !a.autostarts() }

// upLimit is how long systemd may take to start the VM again.
const upLimit = time.Minute

// up waits until the VM runs, which nobody but ferry or systemd sees to.
func (a *attempt) up(ctx context.Context) error {
	err := until(ctx, upLimit, func() error {
		_, err := a.on(ctx, onHost, `systemctl is-active --quiet "microvm@$1"`, a.name)
		return err
	})
	if err != nil {
		return fmt.Errorf("the VM does not run: %w", err)
	}
	return nil
}

// output is the end of what ferry said in the runs that may explain a violation.
func (a *attempt) output() string {
	var s strings.Builder
	for _, r := range []struct {
		what string
		*ran
	}{{"disturbed", a.ran}, {"again", a.again}, {"once more", a.once}} {
		if r.ran == nil || r.code == 0 && r.what != "disturbed" {
			continue
		}
		lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
		fmt.Fprintf(&s, "%s: exit code %d\n%s\n", r.what, r.code, strings.Join(lines[max(0, len(lines)-12):], "\n"))
	}
	return s.String()
}
