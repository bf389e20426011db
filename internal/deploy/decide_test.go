package deploy

import (
	"errors"
	"fmt"
	"testing"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/request"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

// What a guest out of reach means depends on what is wanted and on --restart, and
// which failures count as out of reach on whom they leave in charge.
func TestGuestPolicies(t *testing.T) {
	connect := func(k remote.ConnectKind) error {
		return fmt.Errorf("the guest: %w", &remote.ConnectError{Kind: k, Host: "web"})
	}
	failures := map[string]error{
		"unreachable": connect(remote.Unreachable), "dropped": connect(remote.Dropped), "no login": connect(remote.AuthFailed),
		"a new key": connect(remote.ChangedHostKey), "unfit": &live.UnfitError{Message: "no systemd", OnlyLive: true},
		"another machine": &live.UnfitError{Message: "db"}, "another error": errors.New("no"),
	}
	named, recorded := request.Resolved{}, request.Resolved{Recorded: true}
	for _, c := range []struct {
		name    string
		policy  guestPolicy
		to      request.Resolved
		then    unreachable
		excused []string
	}{
		{"rollback", goingBackPolicy(hostapi.RestartAuto), named, restartIt, []string{"unreachable", "dropped"}},
		{"rollback, if needed", goingBackPolicy(hostapi.RestartIfNeeded), recorded, restartIt, []string{"unreachable", "dropped"}},
		{"rollback, never", goingBackPolicy(hostapi.RestartNever), named, refuseIt, []string{"unreachable", "dropped"}},
		{"update", updatePolicy(hostapi.RestartAuto), named, restartIt, []string{"unreachable", "dropped", "unfit"}},
		{"update, recorded target", updatePolicy(hostapi.RestartAuto), recorded, restartIt, []string{"unreachable", "dropped", "no login", "a new key", "unfit"}},
		{"update, never", updatePolicy(hostapi.RestartNever), named, installIt, []string{"unreachable", "dropped", "unfit"}},
	} {
		if c.policy.then != c.then {
			t.Errorf("%s: %s, want %s", c.name, c.policy.then, c.then)
		}
		excused := map[string]bool{}
		for _, e := range c.excused {
			excused[e] = true
		}
		for name, err := range failures {
			if why := c.policy.excuse(c.to, err); (why != "") != excused[name] {
				t.Errorf("%s, %s: %q", c.name, name, why)
			}
		}
	}
	if p := strict(); p.then != refuseIt || p.excuse != nil {
		t.Errorf("a rebuild excuses: %+v", p)
	}
}
