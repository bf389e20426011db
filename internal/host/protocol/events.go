package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"ferry/internal/hostapi"
)

// Writer prints events, one a line. A reader that is gone is no error, and one that
// has stopped reading holds nobody up: the work that must be finished goes on. What
// is not read of a log is dropped then, and how much that was is said later; no
// other event is.
type Writer struct {
	queue
	id      uint64 // of the request that is being answered; 0: none, or it had none
	dropped int    // lines of log
}

// NewWriter prints to w.
func NewWriter(w io.Writer) *Writer {
	e := &Writer{queue: queue{w: w, moved: make(chan struct{})}}
	e.refill = e.tellDropped
	return e
}

// Answering says whose answer all is that comes from now on.
func (e *Writer) Answering(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.id = id
}

// Within has over called where the reader takes longer than that to read a line.
func (e *Writer) Within(limit time.Duration, over func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limit, e.over = limit, over
	if e.busy && e.timer == nil {
		e.arm()
	}
}

// Leave has nothing wait for the reader any more.
func (e *Writer) Leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaving = true
}

// Flush waits until everything is written, or nothing is for so long; 0: for ever.
func (e *Writer) Flush(idle time.Duration) { e.flush(idle) }

// Print prints one event, as the answer to the request that is being answered.
func (e *Writer) Print(ev hostapi.Event) {
	_ = e.print(ev) // only items wait, and may do so in vain
}

func (e *Writer) print(ev hostapi.Event) error {
	number, err := e.enqueue(ev)
	if err == nil {
		e.await(number)
	}
	return err
}

func (e *Writer) enqueue(ev hostapi.Event) (number uint64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case ev.Event == hostapi.EventLog && e.full():
		e.dropped++
		return 0, nil
	case ev.Event == hostapi.EventAlive && e.full():
		return 0, nil
	case ev.Event == hostapi.EventItem:
		if err := e.room(); err != nil {
			return 0, err
		}
	}
	if told := e.tellDropped(); told != nil {
		e.add(told)
	}
	if ev.Event != hostapi.EventAlive {
		ev.ID = e.id
	}
	return e.add(line(ev)), nil
}

// tellDropped is what says how much of the log was dropped; nil where nothing was.
func (e *Writer) tellDropped() []byte {
	n := e.dropped
	if n == 0 {
		return nil
	}
	e.dropped = 0
	said := fmt.Sprintf("%d lines of the log were dropped here: they were not read in time", n)
	return line(hostapi.Event{Event: hostapi.EventLog, ID: e.id, Source: "host", Line: said})
}

func line(ev hostapi.Event) []byte {
	b, err := json.Marshal(ev)
	if err != nil {
		b, _ = json.Marshal(hostapi.Event{Event: hostapi.EventError, ID: ev.ID, Error: &hostapi.Failure{Kind: hostapi.KindFailed, Message: err.Error()}})
	}
	return append(b, '\n')
}

// Log tells people how it goes on.
func (e *Writer) Log(source, line string) {
	e.Print(hostapi.Event{Event: hostapi.EventLog, Source: source, Line: line})
}

// Item gives a part of an answer that comes in parts.
func (e *Writer) Item(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.print(hostapi.Event{Event: hostapi.EventItem, Item: b})
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
	e.Print(hostapi.Event{Event: hostapi.EventError, Error: hostapi.FailureOf(err)})
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
