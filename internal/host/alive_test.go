package host

import (
	"ferry/internal/host/hosttest"

	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// A connection that froze: the session goes on as long as there are signs of
// life, and then ends as if the connection had been closed, with the lock free.
func TestSilenceEndsTheSession(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	c.prepare(hosttest.RunnerA)
	for range 6 { // longer than the silence that ends it
		if _, err := io.WriteString(c.in, `{"alive":{"seconds":1}}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if !c.events.Scan() || c.events.Text() != `{"event":"alive"}` {
			t.Fatalf("met by %q", c.events.Text())
		}
		select {
		case <-c.done:
			t.Fatal("the session ended in spite of signs of life")
		case <-time.After(300 * time.Millisecond):
		}
	}
	var facts hostapi.Facts
	if err := c.ask(hostapi.Request{Probe: &hostapi.ProbeRequest{Name: web}}, &facts); err != nil || facts.Lock == nil {
		t.Fatalf("between signs of life: %+v, %v", facts.Lock, err)
	}
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the session does not end")
	}
	if held := h.Layout.VM(web).Lock().Holder(); held != nil {
		t.Errorf("the lock is still held: %+v", held)
	}
	if got, err := h.Layout.VM(web).History().Read(1); err != nil || len(got.Entries) != 1 || got.Entries[0].Outcome != hostapi.OutcomeInterrupted {
		t.Errorf("history %+v, %v", got, err)
	}
}

// A line that is no sign of life is answered, with an error.
func TestWrongSignOfLifeIsAnswered(t *testing.T) {
	c := newTestHost(t).session()
	defer c.leave()
	var f *hostapi.Failure
	if err := c.send(`{"alive":{"seconds":-1}}`, nil); !errors.As(err, &f) || !strings.Contains(f.Message, "empty") {
		t.Errorf("got %v", err)
	}
}

// An operator whom Ctrl-Z has stopped reads nothing: the build goes on, and once
// the signs of life are missing, too, the lock is free.
func TestOperatorWhoDoesNotReadKeepsNoLock(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	c.prepare(hosttest.RunnerA)
	said := make(chan struct{})
	h.Nix.Building = func(ctx context.Context) error {
		for range 100_000 {
			c.out.Log("nix", strings.Repeat("x", 100))
		}
		close(said)
		return nil
	}
	for _, line := range []string{
		`{"alive":{"seconds":3}}`,
		`{"id":9,"protocol":` + fmt.Sprint(hostapi.ProtocolVersion) + `,"build":{"name":"web","derivations":["` + string(drv(hosttest.RunnerA)) + `"]}}`,
	} {
		if _, err := io.WriteString(c.in, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-said:
	case <-time.After(20 * time.Second):
		t.Fatal("the build waits for its log to be read")
	}
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the session does not end")
	}
	if held := h.Layout.VM(web).Lock().Holder(); held != nil {
		t.Errorf("the lock is still held: %+v", held)
	}
}
