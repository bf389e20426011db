package deploy

import (
	"bufio"
	"io"
	"testing"
	"time"
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
