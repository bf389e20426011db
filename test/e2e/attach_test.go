//go:build lab

package e2e

import (
	"regexp"
	"testing"
	"time"
)

// An operator is killed while its live switch is under way; whoever attaches
// confirms it, before the guest undoes it by itself.
func TestAttachToLiveSwitch(t *testing.T) {
	in, vm := newLive(t, "left")
	before := vm.invocation()
	in.write("left.nix", liveModule("left", "second", "lab.switchSleep = 6;"))
	run := in.begin("rebuild", "left")
	run.says("switch in root@box")
	run.signal("KILL")
	run.wait()
	in.ferry("attach", "no-such-thing", "x").want(2)
	in.ferry("attach", "20200101T000000-aaaaaa").want(1, "no deployment", "ferry history")
	r := in.ferry("attach", "left").want(0, "switched live", "generation 2")
	id := r.stderrID()
	if vm.link("current") == vm.link("booted") || vm.invocation() != before {
		t.Errorf("current %s, booted %s", vm.link("current"), vm.link("booted"))
	}
	in.ferry("attach", id).want(0)
	in.ferry("attach", "left").want(0, "switched live") // how the last one ended
	in.ferry("attach").want(1, "no deployment that has not ended")
	in.ferry("rebuild", "left").want(0, "unchanged")
}

// A restart whose operator was killed: whoever attaches looks into the guest and
// confirms it, or undoes it.
func TestAttachToRestart(t *testing.T) {
	in, vm := newLive(t, "waits")
	args := []string{"rebuild", "waits", "--restart=always", "--confirm-timeout=60s"}
	leave := func(page string) {
		t.Helper()
		in.write("waits.nix", liveModule("waits", page))
		run := in.begin(args...)
		run.says("waiting for root@box")
		run.signal("KILL")
		run.wait()
	}
	leave("second")
	vm.boot(world.guest1) // the container plays the system that has booted
	in.ferry("attach", "waits").want(0, "restarted")
	in.ferry("rebuild", "waits").want(0, "unchanged")
	before := vm.contract()

	leave("third")
	output(t, world.guest1, "systemctl", "stop", "ssh.socket", "ssh.service")
	defer func() { _, _ = world.guest1.Output(t.Context(), "systemctl", "start", "ssh.service") }()
	began := time.Now()
	in.ferry("attach", "waits").want(4, "undoing", "runs again")
	if took := time.Since(began); took > 3*time.Minute {
		t.Errorf("it took %s", took)
	}
	vm.wantContract(before)
}

// stderrID is the deployment that attach went on with.
func (r *ran) stderrID() string {
	r.t.Helper()
	m := deploymentID.FindString(r.stderr)
	if m == "" {
		r.t.Fatalf("no deployment in %s", r)
	}
	return m
}

var deploymentID = regexp.MustCompile(`[0-9]{8}T[0-9]{6}-[0-9a-z]+`)
