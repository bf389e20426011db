package deploy

import (
	"bufio"
	"errors"
	"io"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// Signs of life stand between requests, never inside one, and end with the
// session.
func TestSignsOfLife(t *testing.T) {
	r, w := io.Pipe()
	l := newLiving(w, time.Millisecond)
	lines := bufio.NewScanner(r)
	const sign, request = `{"alive":{"seconds":300}}`, `{"probe":{"name":"web"}}`
	go func() {
		for range 20 {
			_, _ = io.WriteString(l, request+"\n")
		}
	}()
	signs, requests := 0, 0
	for (signs < 20 || requests < 20) && lines.Scan() {
		switch lines.Text() {
		case sign:
			signs++
		case request:
			requests++
		default:
			t.Fatalf("got %q", lines.Text())
		}
	}
	if requests != 20 {
		t.Errorf("%d requests", requests)
	}
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }() // a sign is stuck in the pipe by now
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close waits for a write that is stuck")
	}
	for lines.Scan() {
		if lines.Text() != sign {
			t.Errorf("after Close: %q", lines.Text())
		}
	}
}

// A host that says nothing any more is lost; one that only shows that it lives
// is not, however long it works.
func TestSilentHostIsLost(t *testing.T) {
	r, w := io.Pipe()
	s := &hostSession{
		address: "root@host1", stdin: nopCloser{io.Discard}, events: make(chan hostapi.Event, 1), log: func(string, string) {},
		ended: func() error { return w.Close() }, cancel: func() {}, limits: sessionLimits{silence: 500 * time.Millisecond},
	}
	go s.read(r)
	go func() {
		for range 10 { // longer than the silence that ends it
			_, _ = io.WriteString(w, `{"event":"alive"}`+"\n")
			time.Sleep(100 * time.Millisecond)
		}
		_, _ = io.WriteString(w, `{"event":"result","result":{}}`+"\n")
	}()
	if err := s.call(t.Context(), hostapi.Request{}, nil); err != nil {
		t.Fatalf("in spite of signs of life: %v", err)
	}
	if err := s.call(t.Context(), hostapi.Request{}, nil); !isLost(err) || !errors.Is(err, errSilent) {
		t.Fatalf("got %v", err)
	}
}

// A helper that was started and says nothing is not waited for as long as one
// that works; neither is one that does not take what it is sent.
func TestMuteHelperIsLost(t *testing.T) {
	for name, stdin := range map[string]func() io.WriteCloser{
		"says nothing":  func() io.WriteCloser { return nopCloser{io.Discard} },
		"takes nothing": func() io.WriteCloser { _, w := io.Pipe(); return w },
	} {
		r, w := io.Pipe()
		s := &hostSession{
			address: "root@host1", stdin: stdin(), events: make(chan hostapi.Event, 1), log: func(string, string) {},
			ended: func() error { return w.Close() }, cancel: func() {},
			limits: sessionLimits{greeting: 50 * time.Millisecond, silence: time.Hour},
		}
		go s.read(r)
		if err := s.call(t.Context(), hostapi.Request{}, nil); !isLost(err) || !errors.Is(err, errSilent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
