package hostclient

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

const (
	maxEvent   = 8 << 20 // bytes of one event line
	maxLogLine = 8 << 10 // bytes kept of a log line
)

// read hands on what the helper prints, for as long as it runs.
func (s *Session) read(r io.Reader) {
	defer close(s.events)
	most := cmp.Or(s.limits.line, maxEvent)
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, min(64<<10, most)), most)
	for sc.Scan() {
		var ev hostapi.Event
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil { // a login banner, say
			ev = hostapi.Event{Event: hostapi.EventLog, Line: string(sc.Bytes()[:min(len(sc.Bytes()), maxLogLine)])}
		}
		if len(ev.Line) > maxLogLine {
			ev.Line = strings.Clone(ev.Line[:maxLogLine]) // so that the rest can be freed
		}
		if ev.Event == hostapi.EventAlive {
			select {
			case s.events <- ev:
			default: // nobody waits for an answer, nor asks for this
			}
			continue
		}
		s.events <- ev
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		s.broken = sc.Err()
	}
}

// wait is a request whose answer is waited for.
type wait struct {
	req   hostapi.Request
	items Items

	count, bytes int // of the items until now
	chatter      int // bytes of what is no answer
}

// await shows what the host logs until the answer comes.
func (s *Session) await(ctx context.Context, w *wait) (hostapi.Event, error) {
	within := s.patience()
	silence := time.NewTimer(within)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			s.left[w.req.ID] = true
			return hostapi.Event{}, remote.Interrupted(ctx, "waiting for "+s.p.Address)
		case <-silence.C:
			return hostapi.Event{}, s.lost(s.silent(within))
		case ev, ok := <-s.events:
			switch {
			case !ok && s.broken != nil:
				return ev, s.refuse("a line of more than %s", mebibytes(cmp.Or(s.limits.line, maxEvent)))
			case !ok:
				return ev, s.lost(errEnded)
			}
			s.heard = true
			if over, err := s.take(w, ev); over || err != nil {
				return ev, err
			}
			within = s.patience()
			silence.Reset(within)
		}
	}
}

// take deals with an event. over: it is the answer.
func (s *Session) take(w *wait, ev hostapi.Event) (over bool, err error) {
	answers := ev.Event == hostapi.EventResult || ev.Event == hostapi.EventError
	switch {
	case ev.ID != 0 && ev.ID != w.req.ID: // of a call that was given up
		if answers {
			delete(s.left, ev.ID)
		}
		return false, s.chat(w, ev)
	case answers && ev.ID == 0 && len(s.left) > 0: // an older helper's: it may be another call's
		return false, s.lost(errMixed)
	case answers:
		return true, nil
	case ev.Event == hostapi.EventItem:
		return false, s.item(w, ev.Item)
	}
	if err := s.chat(w, ev); err != nil {
		return false, err
	}
	if ev.Event == hostapi.EventLog {
		s.log(ev.Source, ev.Line)
	}
	return false, nil
}

// chat counts what is no answer, and refuses more than anybody wants of it.
func (s *Session) chat(w *wait, ev hostapi.Event) error {
	w.chatter += size(ev)
	most := cmp.Or(s.limits.chatter, maxChatter)
	if builds(w.req) {
		most = cmp.Or(s.limits.work, maxWork)
	}
	if w.chatter > most {
		return s.refuse("more than %s that nobody asked for", mebibytes(most))
	}
	return nil
}

// size is what an event counts for, in bytes.
func size(ev hostapi.Event) int { return len(ev.Line) + len(ev.Item) + len(ev.Result) + eventSize }

func (s *Session) item(w *wait, item json.RawMessage) error {
	w.count++
	w.bytes += len(item)
	if err := checkShape(item, cmp.Or(s.limits.values, maxValues)); err != nil {
		return s.refuse("%v", err)
	}
	switch {
	case w.items.Each == nil:
		return s.refuse("a part of an answer that has none")
	case w.items.Most > 0 && w.count > w.items.Most:
		return s.refuse("more than %d answers", w.items.Most)
	case w.items.Bytes > 0 && w.bytes > w.items.Bytes:
		return s.refuse("answers of more than %s", mebibytes(w.items.Bytes))
	}
	err := w.items.Each(item)
	if err != nil {
		s.left[w.req.ID] = true
	}
	return err
}

// builds says that a request's log is as long as that of what it builds, fetches,
// or makes others do.
func builds(r hostapi.Request) bool {
	return r.Build != nil || r.Evaluate != nil || r.Fetch != nil || r.Missing != nil || r.Commit != nil || r.Resume != nil
}

func mebibytes(n int) string { return strconv.Itoa(n>>20) + " MiB" }
