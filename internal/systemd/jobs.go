package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

const (
	// jobPoll is how often a job is looked after: whether the connection that
	// would tell of its end is still there, and after that, whether it has ended.
	jobPoll = 250 * time.Millisecond
	// jobReport is how often a job that takes its time says so.
	jobReport = 10 * time.Second
)

// job is something that systemd does to a unit.
type job struct {
	unit string
	// stops: afterwards the unit is down; else it is up, by a new start.
	stops bool
	once  bool // nothing that may be asked for twice
	queue func(ctx context.Context, conn *dbus.Conn, done chan<- string) error
	say   func(sofar time.Duration) // now and then; may be nil
}

func stopJob(unit string, say func(time.Duration)) job {
	return job{unit: unit, stops: true, say: say, queue: func(ctx context.Context, conn *dbus.Conn, done chan<- string) error {
		_, err := conn.StopUnitContext(ctx, unit, "replace", done)
		return err
	}}
}

func restartJob(unit string, say func(time.Duration)) job {
	return job{unit: unit, say: say, queue: func(ctx context.Context, conn *dbus.Conn, done chan<- string) error {
		_, err := conn.RestartUnitContext(ctx, unit, "replace", done)
		return err
	}}
}

// transientJob starts a unit that is no file.
func transientJob(unit string, properties []dbus.Property) job {
	return job{unit: unit, queue: func(ctx context.Context, conn *dbus.Conn, done chan<- string) error {
		_, err := conn.StartTransientUnitContext(ctx, unit, "fail", properties, done)
		return err
	}}
}

// refused is systemd's answer to a job that it does not take.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// do has systemd do a job and waits until it has ended. The result is systemd's
// word for that; where the connection was lost meanwhile, which would have told
// of it, the word that the unit's state stands for. An error is *refused, or says
// that the end of the job is not known.
func (s *Manager) do(ctx context.Context, j job) (result string, err error) {
	before, err := s.Unit(ctx, j.unit)
	if err != nil {
		return "", err
	}
	tries := 2
	if j.once {
		tries = 1
	}
	for range tries {
		conn, done := s.bus.current(), make(chan string, 1)
		err := j.queue(ctx, conn, done)
		switch {
		case err == nil:
			result, err = j.await(ctx, conn, done)
		case !lost(conn, err):
			return "", refused{err}
		}
		if !lost(conn, err) && !errors.Is(err, errLost) {
			return result, err
		}
		if result, err = s.outcome(ctx, j, before); !errors.Is(err, errNotQueued) {
			return result, err
		}
	}
	return "", fmt.Errorf("%s: %w, and what became of its job is not known", j.unit, errLost)
}

var (
	errLost      = errors.New("the connection to systemd was lost")
	errNotQueued = errors.New("systemd was not told")
)

// await waits for a job over the connection that it was queued by.
func (j job) await(ctx context.Context, conn *dbus.Conn, done <-chan string) (result string, err error) {
	began := time.Now()
	report, poll := time.NewTicker(jobReport), time.NewTicker(jobPoll)
	defer report.Stop()
	defer poll.Stop()
	for {
		select {
		case result := <-done:
			return result, nil
		case <-report.C:
			j.report(began)
		case <-poll.C:
			if conn.Connected() {
				continue
			}
			select {
			case result := <-done: // the last that it told
				return result, nil
			default:
				return "", errLost
			}
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (j job) report(began time.Time) {
	if j.say != nil {
		j.say(time.Since(began).Round(time.Second))
	}
}

// outcome finds out over a new connection what has become of a job, and waits for
// it where it is not over. systemd keeps its jobs when it executes itself again.
func (s *Manager) outcome(ctx context.Context, j job, before Unit) (result string, err error) {
	began := time.Now()
	report, poll := time.NewTicker(jobReport), time.NewTicker(jobPoll)
	defer report.Stop()
	defer poll.Stop()
	for {
		now, err := s.Unit(ctx, j.unit)
		if err != nil {
			return "", err
		}
		if !now.queued {
			return j.judge(before, now)
		}
		select {
		case <-report.C:
			j.report(began)
		case <-poll.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// judge says how a job has ended for which no job is left.
func (j job) judge(before, now Unit) (result string, err error) {
	down := now.Stopped() || now.ActiveState == "failed"
	switch {
	case j.stops && down:
		return "done", nil
	case j.stops:
		return "", errNotQueued
	case now.InvocationID == before.InvocationID:
		return "", errNotQueued
	case now.Up(), now.Stopped() && now.Result == "success":
		return "done", nil
	}
	return "failed", nil
}
