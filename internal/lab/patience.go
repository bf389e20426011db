package lab

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// Patience measures time as this machine has it to give: while more processes
// want to run than there are processors, the clock goes slower by that ratio. A
// limit in patience is kept by the same test on an idle machine and on one that
// is three times as busy.
type Patience struct {
	left time.Duration
	last time.Time
}

// NewPatience has so much of it, counted from now.
func NewPatience(limit time.Duration) *Patience {
	return &Patience{left: limit, last: time.Now()}
}

// Over takes off what has passed since the last call and reports whether none is
// left. Calls more than a few seconds apart see only how busy the machine is at
// their moment.
func (p *Patience) Over() bool {
	now := time.Now()
	p.left -= time.Duration(float64(now.Sub(p.last)) / busy())
	p.last = now
	return p.left <= 0
}

// WithPatience is context.WithTimeout with a limit in patience.
func WithPatience(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	patience := NewPatience(limit)
	go func() {
		tick := time.NewTicker(min(time.Second, limit))
		defer tick.Stop()
		for !patience.Over() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		cancel(fmt.Errorf("waited %s: %w", limit, context.DeadlineExceeded))
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// Took measures how long something takes, in patience, until the returned function
// is called: what a test may hold against a bound on any machine.
func Took() (ended func() time.Duration) {
	const long = 24 * time.Hour
	patience := NewPatience(long)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				patience.Over()
			case <-stop:
				patience.Over()
				return
			}
		}
	}()
	return func() time.Duration { close(stop); <-stopped; return long - patience.left }
}

// busy is how many processes want each processor now, at least 1
// (proc_loadavg(5): the fourth field is runnable/existing).
func busy() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 1
	}
	var a, c, d float64
	var runnable, existing int
	if _, err := fmt.Sscanf(strings.TrimSpace(string(b)), "%f %f %f %d/%d", &a, &c, &d, &runnable, &existing); err != nil {
		return 1
	}
	return max(1, float64(runnable)/float64(runtime.NumCPU()))
}

// Await calls ready every interval until it returns nil; the error is ready's
// last one when ctx ends or the limit, in patience, has passed, which also ends a
// try that hangs.
func Await(ctx context.Context, limit, interval time.Duration, ready func(context.Context) error) error {
	patience := NewPatience(limit)
	for {
		try, cancel := WithPatience(ctx, limit)
		err := ready(try)
		cancel()
		if err == nil {
			return nil
		}
		if patience.Over() {
			return fmt.Errorf("waited %s: %w", limit, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-time.After(interval):
		}
	}
}
