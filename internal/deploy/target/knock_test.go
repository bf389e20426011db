package target

import (
	"context"
	"errors"
	"testing"

	"ferry/internal/remote"
)

// The login is tried without a question, and ends with the knock.
func TestKnockAsksNobodyAndEnds(t *testing.T) {
	var asked remote.Options
	k := Begin(t.Context(), func(ctx context.Context, o remote.Options) (remote.Conn, error) {
		asked = o
		<-ctx.Done()
		return nil, ctx.Err()
	}, web, true)
	k.Close()
	if !asked.Batch || !asked.Sudo || asked.LoginLimit != knockLimit || asked.Address != web {
		t.Errorf("%+v", asked)
	}
	(*Knock)(nil).Close()
}

// Another login would find the same where nobody is there: that error is given once.
// What a person could still answer is left to the next login.
func TestTakeGivesAnErrorThatStays(t *testing.T) {
	for kind, stays := range map[remote.ConnectKind]bool{
		remote.Unreachable: true, remote.ChangedHostKey: true, remote.AuthFailed: false, remote.Dropped: false,
	} {
		fails := &remote.ConnectError{Kind: kind, Stderr: "no"}
		k := Begin(t.Context(), func(context.Context, remote.Options) (remote.Conn, error) { return nil, fails }, web, false)
		conn, err := k.Take(t.Context())
		if conn != nil || errors.Is(err, fails) != stays || !stays && err != nil {
			t.Errorf("%v: %v, %v", kind, conn, err)
		}
		if _, err := k.Take(t.Context()); err != nil {
			t.Errorf("%v: it is given again: %v", kind, err)
		}
		k.Close()
	}
	if conn, err := (*Knock)(nil).Take(t.Context()); conn != nil || err != nil {
		t.Errorf("none: %v, %v", conn, err)
	}
}
