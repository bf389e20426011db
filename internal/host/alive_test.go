package host

import (
	"errors"
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
	c.prepare(runnerA)
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
	if held := h.layout.lockHolder(web); held != nil {
		t.Errorf("the lock is still held: %+v", held)
	}
	if got, err := h.layout.History(web, 1); err != nil || len(got.Entries) != 1 || got.Entries[0].Outcome != hostapi.OutcomeInterrupted {
		t.Errorf("history %+v, %v", got, err)
	}
}

func TestWhatIsNoSignOfLife(t *testing.T) {
	for _, line := range []string{"", "{}", `{"alive":{}}`, `{"alive":{"seconds":0}}`, `{"alive":{"seconds":-1}}`, `{"alive":1}`, `{"alive":`} {
		if within, ok := signOfLife([]byte(line)); ok {
			t.Errorf("%s is one, for %s", line, within)
		}
	}
	if within, ok := signOfLife([]byte(`{"alive":{"seconds":9223372036854775807}}`)); !ok || within <= 0 {
		t.Errorf("a long one: %s, %v", within, ok)
	}
	// One that is asked for an answer gets an error instead of none.
	c := newTestHost(t).session()
	defer c.leave()
	var f *hostapi.Failure
	if err := c.send(`{"alive":{"seconds":-1}}`, nil); !errors.As(err, &f) || !strings.Contains(f.Message, "empty") {
		t.Errorf("got %v", err)
	}
}
