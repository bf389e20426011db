package completion

import (
	"context"
	"time"

	"ferry/internal/flake"
)

const (
	// maxAge is how long names are offered without looking again, though the flake's
	// files have not changed: it may use others.
	maxAge = 10 * time.Minute
	// failedAge is the same after an evaluation that failed.
	failedAge = time.Minute
	// patience is how long a completion waits for names where none are known, and
	// shortPatience where those known may be old. The whole shall take 200 ms.
	patience      = 2 * time.Second
	shortPatience = 100 * time.Millisecond
)

// Offers are the names in flakes.
type Offers struct {
	// Dir holds what is known; empty: nothing is known or asked.
	Dir string
	// Start begins to Renew the names of a flake, in a process of its own that
	// outlives this one. The channel is closed once it has ended.
	Start func(ref string) (<-chan struct{}, error)
}

// Of are the names in the flake that ref names, from the cache. Where that may be
// out of date it is renewed for the next time, and waited for only shortly. Nothing
// is ever an error: then nothing is offered.
func (o *Offers) Of(ctx context.Context, ref string) flake.Outline {
	p, ok := locate(ref)
	if !ok || o.Dir == "" {
		return flake.Outline{}
	}
	c := cache{o.Dir}
	known, have := c.get(p)
	if have && known.fresh(p) {
		return known.names
	}
	wait := patience
	if have {
		wait = shortPatience
	}
	ended, err := o.Start(p.ref)
	if err != nil {
		return known.names
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
		if renewed, have := c.get(p); have {
			return renewed.names
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	return known.names
}

func (e entry) fresh(p place) bool {
	age := maxAge
	if e.Failed {
		age = failedAge
	}
	// The clock may have been set back since.
	since := time.Since(e.Time)
	return since >= 0 && since < age && e.State == p.state()
}

// Renew evaluates the names of a flake and keeps them. Only one process does so at
// a time; it is bounded in time by its context.
func Renew(ctx context.Context, dir, ref string, evaluate Evaluate) error {
	p, ok := locate(ref)
	if !ok || dir == "" {
		return nil
	}
	c := cache{dir}
	unlock, err := c.lock(p)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	e := entry{State: p.state()} // before: what is saved meanwhile is found next time
	e.Names, err = evaluate(ctx, p.ref)
	if err == nil {
		_, err = flake.DecodeOutline(e.Names)
	}
	if err != nil {
		e.Names, e.Failed = nil, true
		if known, have := c.get(p); have {
			e.Names = known.Names // a flake that is being edited still has them
		}
	}
	return c.put(p, e)
}
