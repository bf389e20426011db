package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"

	"ferry/internal/hostapi"
)

// Writer prints events, one a line. A reader that is gone is no error: the
// work that must be finished goes on without it.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
	id uint64 // of the request that is being answered; 0: none, or it had none
}

// NewWriter prints to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Answering says whose answer all is that comes from now on.
func (e *Writer) Answering(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.id = id
}

// Print prints one event, as the answer to the request that is being answered.
func (e *Writer) Print(ev hostapi.Event) {
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

// Log tells people how it goes on.
func (e *Writer) Log(source, line string) {
	e.Print(hostapi.Event{Event: hostapi.EventLog, Source: source, Line: line})
}

// Item gives a part of an answer that comes in parts.
func (e *Writer) Item(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		e.Print(hostapi.Event{Event: hostapi.EventItem, Item: b})
	}
	return err
}

// Result answers the request.
func (e *Writer) Result(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		e.Fail(err)
		return
	}
	e.Print(hostapi.Event{Event: hostapi.EventResult, Result: b})
}

// Fail answers the request with why it failed; where err is no *Failure it becomes
// one of KindFailed.
func (e *Writer) Fail(err error) {
	var f *hostapi.Failure
	if !errors.As(err, &f) {
		f = &hostapi.Failure{Kind: hostapi.KindFailed, Message: err.Error()}
	}
	e.Print(hostapi.Event{Event: hostapi.EventError, Error: f})
}

// Lines is a writer that prints each line as a log event.
func (e *Writer) Lines(source string) io.Writer { return &lineWriter{out: e, source: source} }

// maxLogLine bounds the text of one log event, in bytes.
const maxLogLine = 4096

type lineWriter struct {
	out    *Writer
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
		l.out.Log(l.source, strings.ToValidUTF8(strings.TrimRight(string(l.rest[:i]), "\r"), "�"))
		l.rest = l.rest[next:]
	}
}
