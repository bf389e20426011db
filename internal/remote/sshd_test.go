//go:build lab

package remote

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/remote/remotetest"
)

// box is where a remotetest.Server is.
func box() Options { return Options{Address: microvm.Address{Host: remotetest.Alias}} }

// onSSHD is where a new one is.
func onSSHD(t *testing.T, lines ...string) Options {
	t.Helper()
	remotetest.Start(t, lines...)
	return box()
}

func dial(t *testing.T, o Options) Conn {
	t.Helper()
	c, err := Dial(remotetest.Within(t, time.Minute), o)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// output runs a command that must succeed.
func output(t *testing.T, c Conn, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Run(remotetest.Within(t, 30*time.Second), Command{Args: args, Stdout: &out}); err != nil {
		t.Fatalf("Run: %v", err)
	}
	return out.String()
}

// connectError fails unless err is a ConnectError of that kind.
func connectError(t *testing.T, err error, kind ConnectKind) *ConnectError {
	t.Helper()
	var e *ConnectError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), not a ConnectError", err, err)
	}
	if e.Kind != kind {
		t.Fatalf("kind %d, want %d: %v\n%s", e.Kind, kind, e, e.Stderr)
	}
	if e.Hint() == "" || strings.Contains(e.Error(), "\n") {
		t.Errorf("not one line with a hint: %q, %q", e.Error(), e.Hint())
	}
	return e
}
