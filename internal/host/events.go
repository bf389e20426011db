package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"

	"ferry/internal/hostapi"
)

// eventWriter prints events, one a line. A reader that is gone is no error: the
// work that must be finished goes on without it.
type eventWriter struct {
	mu sync.Mutex
	w  io.Writer
	id uint64 // of the request that is being answered; 0: none, or it had none
}

// answering says whose answer all is that comes from now on.
func (e *eventWriter) answering(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.id = id
}

func (e *eventWriter) print(ev hostapi.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Event != hostapi.EventAlive {
		ev.ID = e.id
	}
	b, err := json.Marshal(ev)
	if err != nil {
		b, _ = json.Marshal(hostapi.Event{Event: hostapi.EventError, ID: ev.ID, Error: &hostapi.Failure{Kind: hostapi.KindFailed, Message: err.Error()}})
	}
	_, _ = e.w.Write(append(b, '\n'))
}

func (e *eventWriter) log(source, line string) {
	e.print(hostapi.Event{Event: hostapi.EventLog, Source: source, Line: line})
}

// item gives a part of an answer that comes in parts.
func (e *eventWriter) item(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		e.print(hostapi.Event{Event: hostapi.EventItem, Item: b})
	}
	return err
}

func (e *eventWriter) result(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		e.fail(err)
		return
	}
	e.print(hostapi.Event{Event: hostapi.EventResult, Result: b})
}

func (e *eventWriter) fail(err error) {
	var f *hostapi.Failure
	if !errors.As(err, &f) {
		f = &hostapi.Failure{Kind: hostapi.KindFailed, Message: err.Error()}
	}
	e.print(hostapi.Event{Event: hostapi.EventError, Error: f})
}

// lines is a writer that prints each line as a log event.
func (e *eventWriter) lines(source string) io.Writer { return &lineWriter{out: e, source: source} }

// maxLogLine bounds the text of one log event, in bytes.
const maxLogLine = 4096

type lineWriter struct {
	out    *eventWriter
	source string
	rest   []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) <= maxLogLine {
			return len(p), nil
		}
		next := i + 1
		if i < 0 || i > maxLogLine { // too long for one event: the rest goes into further ones
			i, next = maxLogLine, maxLogLine
		}
		l.out.log(l.source, strings.ToValidUTF8(strings.TrimRight(string(l.rest[:i]), "\r"), "�"))
		l.rest = l.rest[next:]
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
