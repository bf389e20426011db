//go:build lab

package remote

import (
	"strings"
	"testing"
	"time"

	"ferry/internal/remote/remotetest"
	"ferry/internal/trouble"
)

// A session that sshd refuses because of MaxSessions says so, and not that the
// machine went away.
func TestRefusedSession(t *testing.T) {
	c := dial(t, onSSHD(t, "MaxSessions 1"))
	p, err := c.Start(remotetest.Within(t, time.Minute), Command{Args: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	// It answers: its session is open.
	if _, err := p.Stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	err = c.Run(remotetest.Within(t, 30*time.Second), Command{Args: []string{"true"}})
	connectError(t, err, Dropped) // which may pass
	if !strings.Contains(err.Error(), "refuses a further session") || trouble.Of(err) != trouble.SessionRefused || !strings.Contains(trouble.Hint(err), "MaxSessions") {
		t.Errorf("%v; hint: %s", err, trouble.Hint(err))
	}
	_ = p.Stdin.Close()
	_ = p.Wait()
}
