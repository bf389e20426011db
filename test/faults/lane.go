//go:build lab

package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"sync"

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
			rep.add(row{Trial: name, Violations: []string{err.Error()}})
			continue
		}
		wg.Go(func() {
			for t, ok := todo.next(name); ok && ctx.Err() == nil; t, ok = todo.next(name) {
				r := l.try(ctx, t)
				if ctx.Err() == nil { // what was broken off says nothing
					rep.add(r)
				}
			}
		})
	}
	wg.Wait()
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
