//go:build lab

package e2e

import (
	"testing"

	"ferry/internal/deploy/result"
)

// A slip in the target is found before anything is touched: of a new VM, and of one
// that is restarted.
func TestWrongTargetTouchesNothing(t *testing.T) {
	in := newInfra(t, "", map[string]string{"slip": liveModule("slip", "first")})
	vm := onHost(t, world.host1, "slip")
	for target, says := range map[string]string{
		"root@no-such-guest": "cannot be resolved",
		"root@host2":         `slip does not run on root@host1, but a machine answers at root@host2: it calls itself "host2"`,
		"nobody@host2":       "a machine answers at nobody@host2: ssh to nobody@host2: login refused",
	} {
		unchanged(t, func() { in.ferry("rebuild", "slip", toHost1, target).want(1, says, "nothing was changed") })
		vm.noDirectory()
	}
	if got := vm.history(); got != "" {
		t.Errorf("the history has %s", got)
	}

	in.deploy(result.OutcomeStarted, "rebuild", "slip", toHost1)
	history := vm.history()
	for target, says := range map[string]string{
		"root@no-such-guest": "cannot be resolved",
		"root@host2":         `calls itself "host2", but slip is configured as "slip"`,
	} {
		unchanged(t, func() {
			in.ferry("rebuild", "slip", toHost1, target, "--restart=always").want(1, says, "nothing was changed")
		})
	}
	if got := vm.history(); got != history {
		t.Errorf("the history was %s, and is %s", history, got)
	}
}

// A guest that somebody has switched by hand is found by a run that would change
// nothing, and brought back. Such a run costs one connection to the host and one to
// the guest, or none with --no-guest.
func TestGuestSwitchedByHandIsFound(t *testing.T) {
	in, _ := newLive(t, "byhand")
	first := runningSystem(t, world.guest1)
	in.write("byhand.nix", liveModule("byhand", "second"))
	second := in.deploy(result.OutcomeSwitched, "rebuild", "byhand")

	count := func(guest int, observed result.Observed, args ...string) {
		t.Helper()
		h, g := connections(t, world.host1), connections(t, world.guest1)
		if r := in.deploy(result.OutcomeUnchanged, append([]string{"rebuild", "byhand"}, args...)...); r.Observed != observed {
			t.Errorf("%v: observed by the %q (%s)", args, r.Observed, r.NotObserved)
		}
		if h, g := connections(t, world.host1)-h, connections(t, world.guest1)-g; h != 1 || g != guest {
			t.Errorf("%v: %d connections to the host and %d to the guest", args, h, g)
		}
	}
	count(1, result.ObservedGuest)
	output(t, world.guest1, first+"/bin/switch-to-configuration", "test")
	if runningSystem(t, world.guest1) != first {
		t.Fatal("the guest was not switched by hand")
	}
	count(0, result.ObservedHost, "--no-guest")
	in.ferry("rebuild", "byhand", "--dry-run").want(0, "not what the host last knew of", "would switch live")
	in.ferry("rebuild", "byhand").want(0, "not what the host last knew of", "switched live")
	if got := runningSystem(t, world.guest1); got != string(second.System) {
		t.Errorf("the guest runs %s", got)
	}
	count(1, result.ObservedGuest)

	// What can't be asked is said, and is no failure.
	in.ferry("rebuild", "byhand", toHost1, "nobody@box").want(0, "unchanged on root@host1 as far as the host knows", "login refused")
}
