package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/runner"
)

const (
	// lastsGrace is how long a hypervisor may still take to end after its session
	// has, or after it was told to.
	lastsGrace = 5 * time.Second
	// longestStop bounds a stop of a unit that sets no bound.
	longestStop = 5 * time.Minute
)

// shutdown is what came of having a guest shut down before its unit is stopped.
// microvm.nix's own unit has systemd end QEMU half a second after it has asked:
// its script leaves with the end of its input, which a stop command doesn't have.
type shutdown struct {
	asked  bool   // and the guest goes down, whatever becomes of who asked
	killed string // in words
	kept   *keptDown
}

// goesOn is the context of what must follow: a guest that was asked goes down,
// and its unit would start it again.
func (d *shutdown) goesOn(ctx context.Context) context.Context {
	if d.asked {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// done lets systemd start the unit again as its file says.
func (d *shutdown) done(ctx context.Context, log func(string)) {
	if d.kept == nil {
		return
	}
	if err := d.kept.release(context.WithoutCancel(ctx)); err != nil {
		log(err.Error())
	}
}

// shutDown has the guest of a VM's unit shut down where a stop of the unit would
// not wait for that, and waits for its end. It asks once, by the runner's own
// script, as the user that runs the VM; where that fails nothing is lost: the stop
// that follows asks again. A guest that is still there when the time for a stop
// is over is killed. ctx counts only until the guest was asked.
func (s *Manager) shutDown(ctx context.Context, n microvm.Name, log func(string)) (*shutdown, error) {
	kept := &keptDown{s: s, unit: n.Unit()}
	if err := kept.release(ctx); err != nil { // of one that was cut off
		return nil, err
	}
	props, err := s.Properties(ctx, n.Unit())
	if err != nil {
		return nil, err
	}
	v := serviceOf(props)
	script, hypervisor := v.script()
	if script == "" {
		return &shutdown{}, nil
	}
	main, err := openProcess(v.pid)
	if err != nil {
		return &shutdown{}, nil // it has ended, or systemd has to do
	}
	defer main.close()
	if again, err := s.Properties(ctx, n.Unit()); err != nil || serviceOf(again).pid != v.pid {
		return &shutdown{}, err
	}
	d := &shutdown{}
	if v.returnsAtOnce() {
		d.kept = kept
		if err := kept.hold(ctx); err != nil {
			return nil, errors.Join(err, kept.release(context.WithoutCancel(ctx)))
		}
	}
	log("the guest is asked to shut down")
	w := waiting{main: main, timeout: v.timeout, impatient: hypervisor == "qemu", log: log}
	d.asked = true
	ctx = context.WithoutCancel(ctx)
	answer, leave, err := s.ask(ctx, n, v, script)
	if err != nil {
		log(fmt.Sprintf("the guest could not be asked to shut down: %v", err))
		return d, nil
	}
	defer leave()
	d.killed = w.wait(answer)
	return d, nil
}

// waiting is for the end of a hypervisor whose guest was asked to shut down.
type waiting struct {
	main    *process
	timeout time.Duration
	// impatient: the script has a session with the hypervisor, to its end. Without
	// one there was nobody to ask: the hypervisor is not up yet.
	impatient bool
	log       func(string)
}

// wait says in words if the hypervisor had to be killed.
func (w waiting) wait(answer <-chan error) (killed string) {
	began := time.Now()
	over, report := time.NewTimer(w.timeout), time.NewTicker(jobReport)
	defer over.Stop()
	defer report.Stop()
	for {
		select {
		case <-w.main.ended:
			return ""
		case err := <-answer:
			answer = nil
			if err == nil && !w.impatient || w.endsWithin(lastsGrace) {
				continue
			}
			if err == nil {
				err = errors.New("its hypervisor was not there yet")
			}
			w.log(fmt.Sprintf("the guest could not be asked to shut down: %v", err))
			return ""
		case <-report.C:
			w.log(fmt.Sprintf("the guest is still shutting down (%s)", time.Since(began).Round(time.Second)))
		case <-over.C:
			killed = fmt.Sprintf("the guest did not shut down within %s and was killed", w.timeout)
			w.log(killed)
			if err := w.main.end(); err != nil {
				w.log(err.Error()) // systemd ends it when the unit is stopped
			}
			w.endsWithin(lastsGrace)
			return killed
		}
	}
}

func (w waiting) endsWithin(d time.Duration) bool {
	select {
	case <-w.main.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// script is the one that has the guest shut down, in the store, and what the
// runner's hypervisor is; empty where there is none, or a stop of the unit does
// all that is needed. `booted` need not be root's on a host of microvm.nix's, and
// nothing that it names is run as root.
func (v service) script() (script, hypervisor string) {
	if v.pid == 0 || v.waits || v.user == "" || v.user == "root" || v.user == "0" || !filepath.IsAbs(v.dir) {
		return "", ""
	}
	link, err := os.Readlink(filepath.Join(v.dir, "booted"))
	if err != nil {
		return "", ""
	}
	p, err := microvm.ParseStorePath(link)
	if err != nil {
		return "", ""
	}
	r := runner.At("", p)
	return r.Shutdown(), r.Hypervisor()
}
