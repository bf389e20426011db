package hostclient

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
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

// A host that says nothing any more is lost; one that only shows that it lives is
// not, however long it works, nor one whose answers take the reader long.
func TestSilentHostIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		p := peer(nopCloser{io.Discard}, r)
		p.Wait = func() error { return w.Close() }
		s := New(p, nil)
		go func() {
			for range 10 { // longer than the silence that ends it
				_, _ = io.WriteString(w, `{"event":"alive"}`+"\n")
				time.Sleep(4 * time.Minute)
			}
			_, _ = io.WriteString(w, `{"event":"item","id":1,"item":1}`+"\n"+`{"event":"result","id":1,"result":{}}`+"\n")
		}()
		slow := Items{Each: func(json.RawMessage) error { time.Sleep(time.Hour); return nil }}
		if err := s.Stream(t.Context(), hostapi.Request{}, slow, nil); err != nil {
			t.Fatalf("in spite of signs of life: %v", err)
		}
		begin := time.Now()
		err := s.Call(t.Context(), hostapi.Request{}, nil)
		if !IsLost(err) || !errors.Is(err, ErrSilent) || time.Since(begin) != aliveLimit {
			t.Fatalf("after %s: %v", time.Since(begin), err)
		}
	})
}

// A helper that was started and says nothing is not waited for as long as one
// that works; neither is one that does not take what it is sent.
func TestMuteHelperIsLost(t *testing.T) {
	for name, stdin := range map[string]func() io.WriteCloser{
		"says nothing":  func() io.WriteCloser { return nopCloser{io.Discard} },
		"takes nothing": func() io.WriteCloser { _, w := io.Pipe(); return w },
	} {
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			p := peer(stdin(), r)
			p.Wait = func() error { return w.Close() }
			begin := time.Now()
			s := New(p, nil)
			if err := s.Call(t.Context(), hostapi.Request{}, nil); !IsLost(err) || !errors.Is(err, ErrSilent) || time.Since(begin) != greetLimit {
				t.Errorf("%s: after %s: %v", name, time.Since(begin), err)
			}
		})
	}
}

// A helper that does not end keeps nobody waiting.
func TestLingeringHelperIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		killed := make(chan struct{})
		p := peer(nopCloser{io.Discard}, r)
		p.Wait = func() error { <-killed; return nil }
		p.Kill = sync.OnceFunc(func() { close(killed); _ = w.Close() })
		s, begin := New(p, nil), time.Now()
		if err := s.Close(); err == nil || time.Since(begin) != closeTimeout {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		<-killed
	})
}

// A helper that goes on talking when it is to end is ended.
func TestTalkingHelperIsKilledAtTheEnd(t *testing.T) {
	out := &repeated{text: `{"event":"log","line":"still here"}` + "\n"}
	killed := make(chan struct{})
	p := peer(nopCloser{io.Discard}, out)
	p.Wait = func() error { <-killed; return nil }
	p.Kill = sync.OnceFunc(func() { out.end(); close(killed) })
	if err := newSession(p, nil, limits{chatter: 1 << 16}).Close(); err != nil {
		t.Errorf("it was waited for: %v", err)
	}
}
