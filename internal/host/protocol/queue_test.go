package protocol

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// read reads the events that wait, up to the last one that is wanted.
func read(t *testing.T, r io.Reader, last hostapi.EventName) (events []hostapi.Event) {
	t.Helper()
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 2<<20)
	for sc.Scan() {
		var ev hostapi.Event
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
		if ev.Event == last {
			return events
		}
	}
	t.Fatalf("no %s among %d events", last, len(events))
	return nil
}

// A reader that Ctrl-Z has stopped holds nobody up: of ten megabytes of log most
// is dropped, and that is said where it is missing; results never are.
func TestStoppedReaderHoldsNobodyUp(t *testing.T) {
	const lines = 100_000
	r, w := io.Pipe()
	out := NewWriter(w)
	out.Answering(7)
	log := out.Lines("nix")
	for i := range lines {
		fmt.Fprintf(log, "%0100d\n", i)
	}
	out.Result(struct{}{})
	out.Answering(8)
	out.Log("host", "not kept either")
	out.Fail(io.EOF)

	events := read(t, r, hostapi.EventError)
	var kept, dropped int
	var bytes int
	for i, ev := range events {
		switch {
		case ev.Event == hostapi.EventResult:
			if before := events[i-1]; before.ID != 7 || !strings.Contains(before.Line, "were dropped") {
				t.Errorf("before the result came %+v", before)
			}
		case ev.Event != hostapi.EventLog:
		case ev.Source == "nix":
			if want := fmt.Sprintf("%0100d", kept); ev.Line != want || ev.ID != 7 {
				t.Fatalf("got %+v, wanted %s", ev, want)
			}
			kept, bytes = kept+1, bytes+len(ev.Line)
		default:
			var n int
			if _, err := fmt.Sscanf(ev.Line, "%d lines of the log were dropped", &n); err != nil {
				t.Fatal(ev.Line)
			}
			dropped += n
		}
	}
	if kept+dropped != lines+1 || bytes > maxQueued || kept < 1000 {
		t.Errorf("%d lines were kept and %d dropped", kept, dropped)
	}
	if last := events[len(events)-1]; last.ID != 8 {
		t.Errorf("the last event is %+v", last)
	}
}

// Who reads again is told at once of what is missing, and misses nothing further.
func TestReaderGoesOn(t *testing.T) {
	r, w := io.Pipe()
	out := NewWriter(w)
	for out.dropped == 0 {
		out.Log("nix", strings.Repeat("x", 4000))
	}
	told := make(chan string, 1)
	sc := bufio.NewScanner(r)
	go func() {
		for sc.Scan() {
			if strings.Contains(sc.Text(), "were dropped") {
				told <- sc.Text()
			}
		}
	}()
	if got := <-told; !strings.Contains(got, "1 lines") {
		t.Error(got)
	}
	for range 1000 {
		out.Log("nix", strings.Repeat("y", 4000))
	}
	out.Flush(0)
	if out.dropped > 0 || len(told) > 0 {
		t.Error("a reader who reads misses something")
	}
}

// The parts of an answer wait for the reader, but not for ever.
func TestPartsWaitForTheReader(t *testing.T) {
	r, w := io.Pipe()
	out := NewWriter(w)
	const parts = 12
	ended := make(chan error, 1)
	go func() {
		for range parts {
			if err := out.Item(strings.Repeat("x", PieceSize)); err != nil {
				ended <- err
				return
			}
		}
		out.Result(struct{}{})
		ended <- nil
	}()
	for waits := false; !waits; runtime.Gosched() {
		out.mu.Lock()
		waits = out.bytes >= maxQueued
		out.mu.Unlock()
	}
	if got := read(t, r, hostapi.EventResult); len(got) != parts+1 {
		t.Errorf("%d events", len(got))
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	go func() {
		for {
			if err := out.Item(strings.Repeat("x", PieceSize)); err != nil {
				ended <- err
				return
			}
		}
	}()
	out.Leave()
	if err := <-ended; err == nil {
		t.Error("the parts of an answer that nobody reads are taken")
	}
}

// A reader who doesn't read for as long as both sides wait for each other is gone.
func TestReaderWhoIsGoneIsNoticed(t *testing.T) {
	_, w := io.Pipe()
	out := NewWriter(w)
	over := make(chan struct{})
	out.Within(time.Second, func() { close(over) })
	out.Result(struct{}{})
	<-over
}
