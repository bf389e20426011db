//go:build lab

package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"ferry/internal/lab"
)

// lane is one host and what is tried on it, one fault after the other: a fault
// may take the whole host down.
type lane struct {
	*world
	host     *lab.Machine
	guest    *lab.Machine // plays the system inside a VM; host1's only
	playing  string       // the VM whose inside it plays
	plays    string       // the start of that VM's unit in which it was booted
	subjects map[string]*subject
}

// tryAll works through the trials, the hosts side by side.
func (w *world) tryAll(ctx context.Context, trials []trial, rep *report) {
	todo := &queue{trials: trials}
	var wg sync.WaitGroup
	for n := 1; n <= hosts; n++ {
		l := &lane{world: w, subjects: map[string]*subject{}}
		name := fmt.Sprintf("host%d", n)
		var err error
		if l.host, err = w.Machine(name); err == nil && n == 1 {
			l.guest, err = w.Machine("guest1")
		}
		if err != nil {
			rep.add(row{Trial: name, Lab: err.Error()})
			continue
		}
		wg.Go(func() {
			for t, ok := todo.next(name); ok && ctx.Err() == nil; t, ok = todo.next(name) {
				r, err := l.tryTwice(ctx, t, rep)
				if ctx.Err() != nil { // what was broken off says nothing
					return
				}
				rep.add(r)
				if err != nil {
					return // the other hosts do the rest, but for what only this one can
				}
			}
		})
	}
	wg.Wait()
}

// tryTwice tries a trial again, with a new VM, where the lab has failed: a machine
// of the lab that is gone says nothing of ferry, whatever was found then. A trial
// that errs again in a lab that is well is a violation: ferry did something that
// the trial didn't expect. The error is a lab that can't be mended.
func (l *lane) tryTwice(ctx context.Context, t trial, rep *report) (row, error) {
	for again := false; ; again = true {
		watched, stop := l.watch(ctx)
		r := l.try(watched, t)
		stop()
		if ctx.Err() != nil || (len(r.Violations) == 0 && r.Lab == "") {
			return r, ctx.Err()
		}
		failed := l.check(ctx)
		switch {
		case failed == nil && r.Lab == "":
			return r, nil
		case failed == nil && again:
			r.Violations, r.Lab = append(r.Violations, r.Lab), ""
			return r, nil
		case failed != nil:
			r.Violations, r.Lab = nil, strings.TrimSpace(failed.Error()+"; "+r.Lab)
			if err := l.mend(ctx); err != nil {
				return r, err
			}
		}
		if again {
			return r, nil
		}
		rep.again(r)
	}
}

// goneLimit is how long a machine may be down in a trial, in patience: a fault that
// kills it starts it again.
const goneLimit = 30 * time.Second

// watch ends a trial whose machines are gone for good: all that it waits for would
// only run into its limit.
func (l *lane) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		patience := lab.NewPatience(goneLimit)
		for {
			if l.host.Running() && l.operator.Running() {
				patience = lab.NewPatience(goneLimit)
			} else if patience.Over() {
				cancel(errors.New("a machine of the lab is gone"))
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// check returns nil where this lane's machines are well.
func (l *lane) check(ctx context.Context) error {
	errs := []error{l.operator.Check(ctx), l.host.Check(ctx)}
	if l.guest != nil {
		errs = append(errs, l.guest.Check(ctx))
	}
	return errors.Join(errs...)
}

// mend starts what has failed again, and gives up this lane's VMs: nobody knows how
// they are.
func (l *lane) mend(ctx context.Context) error {
	l.mending.Lock() // all lanes share the operator
	defer l.mending.Unlock()
	l.subjects, l.playing, l.plays = map[string]*subject{}, "", ""
	for _, m := range []*lab.Machine{l.operator, l.host, l.guest} {
		if m == nil || m.Check(ctx) == nil {
			continue
		}
		if err := m.Kill(ctx); err != nil {
			return fmt.Errorf("mending the lab: %w", err)
		}
		if err := m.Start(ctx); err != nil {
			return fmt.Errorf("mending the lab: %w", err)
		}
	}
	return nil
}

// queue hands out trials: first those that only this host can do.
type queue struct {
	mu     sync.Mutex
	trials []trial
}

func (q *queue) next(host string) (trial, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.trials, func(t trial) bool { return t.way.on == host })
	if i < 0 {
		i = slices.IndexFunc(q.trials, func(t trial) bool { return t.way.on == "" })
	}
	if i < 0 {
		return trial{}, false
	}
	t := q.trials[i]
	q.trials = slices.Delete(q.trials, i, i+1)
	return t, true
}

func choose(trials []trial, only *regexp.Regexp) []trial {
	return slices.DeleteFunc(trials, func(t trial) bool { return !only.MatchString(t.String()) })
}
