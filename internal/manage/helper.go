package manage

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"ferry/internal/helperbin"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

const endTimeout = 20 * time.Second // for the helper to put things in order

// limits are what a helper may take: it may be anybody's.
type limits struct {
	greeting time.Duration // until the first event, which comes at once
	silence  time.Duration // between events: it gives signs of life
	line     int           // bytes of an event
	talk     int           // bytes of all that is no answer
	answers  int           // bytes of all answers, where they are kept
	count    int           // answers, where they are kept
}

var usualLimits = limits{
	greeting: time.Minute, silence: 5 * time.Minute,
	line: 8 << 20, talk: 16 << 20, answers: 32 << 20, count: 10_000,
}

// Host is a connection to a host.
type Host struct {
	Place
	// NoTrace leaves nothing of the helper on a host that lacks it: for runs
	// that must change nothing.
	NoTrace bool
	// Program chooses what is run there instead of the helper; nil: that.
	Program helperbin.Find

	conn   remote.Conn
	report Reporter
	limits limits
}

// Conn is the connection itself, for commands other than the helper's.
func (h *Host) Conn() remote.Conn { return h.conn }

// Close ends the connection.
func (h *Host) Close() { _ = h.conn.Close() }

// Run runs one command of the helper, as in Run(ctx, "web", &state, "start",
// "web") for `ferry host start web`, and decodes its answer into result (nil:
// none is wanted). What the helper reports goes to the Reporter under subject,
// or the host's own name where that is empty. The error is a *host.Failure
// where the helper gave a reason. When ctx ends, the helper is told and awaited.
func (h *Host) Run(ctx context.Context, subject string, result any, args ...string) error {
	answered := false
	err := h.Stream(ctx, subject, func(answer json.RawMessage) error {
		answered = true
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(answer, result); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", h, err)
		}
		return nil
	}, args...)
	if err == nil && result != nil && !answered {
		return fmt.Errorf("%s: ferry's helper gave no answer", h)
	}
	return err
}

// Stream is Run for a command that gives several answers, up to a number that no
// host has VMs. An error of each ends the helper and is returned.
func (h *Host) Stream(ctx context.Context, subject string, each func(answer json.RawMessage) error, args ...string) error {
	return h.stream(ctx, &reading{h: h, subject: subject, each: each, maxAnswers: h.limits.count, maxBytes: h.limits.answers}, args)
}

// errStopped ends a helper whose output is wanted no more.
var errStopped = errors.New("it was told to end")

func (h *Host) stream(ctx context.Context, r *reading, args []string) error {
	r.subject = cmp.Or(r.subject, h.String())
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(errStopped)
	p, err := h.start(ctx, own, cancel, append([]string{"host", "--attached"}, args...))
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	stop := context.AfterFunc(ctx, func() { // its end of input tells the helper
		_ = p.Stdin.Close()
		select {
		case <-ended:
		case <-time.After(endTimeout):
			cancel(errStopped)
		}
	})
	defer stop()
	failure, err := r.read(p.Stdout, cancel)
	_ = p.Stdin.Close()
	if err != nil {
		cancel(errStopped)
	}
	werr := h.ended(p, cancel)
	var silent *silentError
	switch {
	case ctx.Err() != nil:
		return remote.Interrupted(ctx, "")
	case errors.As(context.Cause(own), &silent):
		return silent
	case err != nil:
		return err
	case failure != nil:
		return failure
	}
	return werr
}

// ended waits for the end of a helper that has closed its output.
func (h *Host) ended(p *remote.Process, cancel context.CancelCauseFunc) error {
	lingers := time.AfterFunc(endTimeout, func() { cancel(h.silent("does not end", endTimeout)) })
	defer lingers.Stop()
	return p.Wait()
}

// start starts the helper, which outlives ctx from then on.
func (h *Host) start(ctx, own context.Context, cancel context.CancelCauseFunc, args []string) (*remote.Process, error) {
	starting := context.AfterFunc(ctx, func() { cancel(errStopped) })
	var p *remote.Process
	var uploaded bool
	var err error
	find := h.Program
	if find == nil {
		find = helperbin.For
	}
	if h.NoTrace {
		p, err = remote.StartProgramOnce(own, h.conn, find, args)
	} else {
		p, uploaded, err = remote.StartProgram(own, h.conn, find, args)
	}
	if err != nil || !starting() {
		cancel(errStopped)
		if ctx.Err() != nil {
			err = remote.Interrupted(ctx, "")
		}
		return nil, err
	}
	if uploaded {
		h.report.Step(h.String(), "uploaded ferry's helper")
	}
	return p, nil
}

// reading takes the answers of one command of the helper.
type reading struct {
	h       *Host
	subject string
	each    func(json.RawMessage) error
	// maxAnswers and maxBytes bound all answers; 0: any number, as nobody keeps
	// them.
	maxAnswers, maxBytes int

	answers, bytes int // until now
	talk           int // bytes of what is no answer
}

// read hands on the helper's answers until its output ends. The failure is the
// reason that the helper gave. Silence ends the helper; the time that each takes
// is none.
func (r *reading) read(out io.Reader, end context.CancelCauseFunc) (failure, err error) {
	limits := r.h.limits
	sc := bufio.NewScanner(out)
	sc.Buffer(make([]byte, 0, min(64<<10, limits.line)), limits.line)
	within, silent := limits.greeting, "does not answer"
	for {
		why := r.h.silent(silent, within)
		patience := time.AfterFunc(within, func() { end(why) })
		more := sc.Scan()
		patience.Stop()
		switch {
		case more:
		case errors.Is(sc.Err(), bufio.ErrTooLong):
			return failure, r.h.strange("a line of more than %s", mebibytes(limits.line))
		case sc.Err() != nil:
			return failure, fmt.Errorf("reading what %s says: %w", r.h, sc.Err())
		default:
			return failure, nil
		}
		within, silent = limits.silence, "says nothing any more"
		line := sc.Bytes()
		var ev hostapi.Event
		known := json.Unmarshal(line, &ev) == nil
		if err := r.count(ev.Event == "result", len(line)); err != nil {
			return failure, err
		}
		switch {
		case !known:
			r.h.report.Detail(r.subject, "%s", line) // a login banner, say
		case ev.Event == "log":
			r.h.report.Step(r.subject, "%s", ev.Line)
		case ev.Event == "result":
			if err := r.each(ev.Result); err != nil {
				return nil, err
			}
		case ev.Event == "error" && ev.Error != nil:
			failure = ev.Error
		case ev.Event == "error":
			failure = errors.New("the host failed and did not say why")
		}
	}
}

// count fails where there is more than anybody wants.
func (r *reading) count(answer bool, bytes int) error {
	limits := r.h.limits
	if !answer {
		if r.talk += bytes; r.talk > limits.talk {
			return r.h.strange("more than %s that nobody asked for", mebibytes(limits.talk))
		}
		return nil
	}
	r.answers++
	r.bytes += bytes
	switch {
	case r.maxAnswers > 0 && r.answers > r.maxAnswers:
		return r.h.strange("more than %d answers", r.maxAnswers)
	case r.maxBytes > 0 && r.bytes > r.maxBytes:
		return r.h.strange("answers of more than %s", mebibytes(r.maxBytes))
	}
	return nil
}

func mebibytes(n int) string { return strconv.Itoa(n>>20) + " MiB" }

// strange is the error of a helper that is none, or none of ours.
func (h *Host) strange(sends string, args ...any) error {
	return fmt.Errorf("%s sends "+sends+": that is not ferry's helper", append([]any{h}, args...)...)
}

// silentError is a helper that shows no sign of life.
type silentError struct{ host, why string }

func (h *Host) silent(why string, within time.Duration) *silentError {
	return &silentError{host: h.String(), why: why + " (waited " + within.String() + ")"}
}

func (e *silentError) Error() string { return e.host + ": ferry's helper " + e.why }

// Hint is what the operator can do next.
func (e *silentError) Hint() string {
	return "log in to the host and look what keeps it; what was begun there may still go on, which `ferry list` and `ferry history` show"
}
