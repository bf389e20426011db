//go:build lab

package e2e

import (
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// reexec has the host's systemd execute itself again, which cuts off everybody who
// talks to it without a D-Bus daemon.
func (v vmOn) reexec() {
	v.t.Helper()
	output(v.t, v.host, "systemctl", "daemon-reexec")
}

// reexecWhen waits until a unit of the VM is in a state, and then has systemd execute
// itself again.
func (v vmOn) reexecWhen(unit, state string) {
	v.t.Helper()
	eventually(v.t, unit+" is "+state, 30*time.Second, func() bool {
		return output(v.t, v.host, "sh", "-c", `systemctl show --value -p ActiveState "$1"`, "sh", unit) == state
	})
	v.reexec()
}

// Whatever of systemd's work a session waits for, it learns how that ended though
// the connection that would have told it is gone.
func TestSystemdExecutesItselfAgain(t *testing.T) {
	const tap = `microvm.binScripts.tap-up = "sleep 4";`
	in, vm := lives(t, "reborn", `lab.shutdownSleep = 4;`, tap)
	t.Run("stop", func(t *testing.T) {
		stop := in.begin("stop", "reborn", host1Flag)
		vm.reexecWhen("microvm@reborn", "deactivating")
		stop.wait().want(0, "reborn: stopped")
		vm.allDown()
	})
	t.Run("start", func(t *testing.T) {
		start := in.begin("start", "reborn", host1Flag)
		vm.reexecWhen("microvm-tap-interfaces@reborn", "activating")
		start.wait().want(0, "reborn: started")
	})
	t.Run("deployment", func(t *testing.T) {
		in.write("reborn.nix", vmModule("reborn", `lab.shutdownSleep = 4;`, tap, `lab.note = "2";`))
		run := in.begin("rebuild", "reborn", toHost1, "--restart=always")
		vm.reexecWhen("microvm@reborn", "deactivating")
		vm.reexecWhen("microvm-tap-interfaces@reborn", "activating")
		run.wait().want(0, "restarted")
		mustBeUp(t, vm)
	})
	t.Run("failure", func(t *testing.T) {
		in.write("reborn.nix", vmModule("reborn", `microvm.binScripts.tap-up = "sleep 4; echo no bridge here >&2; exit 1";`))
		run := in.begin("rebuild", "reborn", toHost1, "--restart=always")
		vm.reexecWhen("microvm-tap-interfaces@reborn", "activating")
		run.wait().want(4, "no bridge here")
		mustBeUp(t, vm)
	})
}

// The same while a guest is asked to shut down by ferry itself.
func TestSystemdExecutesItselfAgainDuringAShutdown(t *testing.T) {
	in, vm := onMicrovmNixHost(t, "phoenix", flushing("phoenix"), "")
	restart := in.begin("restart", "phoenix", host1Flag)
	vm.whenAsked()
	vm.reexec()
	restart.wait().want(0, "restarted").without("killed")
	if got := vm.acts(); strings.Count(got, "asked") != 1 || !strings.HasSuffix(got, "flushed,stop,booted,") {
		t.Errorf("it did %s", got)
	}
}

// While the operator looks into the guest: the confirmation finds systemd again.
// The guard, which would undo the deployment, survives that and being killed more
// often than systemd starts services again.
func TestSystemdExecutesItselfAgainDuringAwait(t *testing.T) {
	in, vm := newLive(t, "awaited")
	in.write("awaited.nix", liveModule("awaited", "second"))
	run := in.begin("rebuild", "awaited", "--restart=always")
	eventually(t, "an answer is awaited", time.Minute, func() bool {
		return output(t, world.host1, "sh", "-c", `grep -c '"phase":"await"' /var/lib/ferry/vms/awaited/deployment.json || :`) == "1"
	})
	vm.reexec()
	guard := output(t, world.host1, "sh", "-c", `systemctl list-units --plain --no-legend 'ferry-guard-*' | cut -d ' ' -f 1`)
	pid := func() string { return output(t, world.host1, "systemctl", "show", "--value", "-p", "MainPID", guard) }
	for range 7 {
		before := pid()
		output(t, world.host1, "kill", "-KILL", before)
		eventually(t, "the guard is back", 20*time.Second, func() bool { now := pid(); return now != before && now != "0" })
	}
	vm.boot(world.guest1)
	run.wait().want(0, "restarted")
	vm.settledBy(20 * time.Second)
}

// An operator whom Ctrl-Z stops during a build with megabytes of log: the host
// goes on to the end of the build, and the operator misses nothing but log.
func TestStoppedOperatorHoldsUpNoBuild(t *testing.T) {
	in, vm := lives(t, "paused")
	in.write("paused.nix", vmModule("paused", `environment.systemPackages = [ (packages.run "slow-paused" { } ''
    echo slow-paused begins
    until [ -e /run/paused ]; do sleep 0.2; done
    line=$(head -c 1000 /dev/zero | tr '\0' x)
    i=0; while [ $i -lt 10000 ]; do echo $line; i=$((i + 1)); done
    mkdir $out
  '') ];`))
	during(t, world.host1, "rm -f /run/paused", "rm -f /run/paused")
	// Only ferry is stopped, not what starts it in the lab, which would be as well.
	run := &running{in: in, out: &said{}, done: make(chan *ran, 1)}
	start := lab.Cmd{Args: []string{"sh", "-c", `"$@" & echo $! >/run/ferry-paused; wait $!`, "sh"}}
	go func() { run.done <- in.ferryWith(start, "rebuild", "paused", toHost1, "--restart=always", "--verbose") }()
	signal := func(name string) { in.op("sh", "-c", `kill -s "$1" "$(cat /run/ferry-paused)"`, "sh", name) }
	run.building(world.host1, "paused")
	signal("STOP")
	output(t, world.host1, "touch", "/run/paused")
	eventually(t, "the end of the build", 2*time.Minute, func() bool { return builders(t, world.host1, "paused") == 0 })
	if !vm.locked() {
		t.Error("the deployment has ended without its operator")
	}
	signal("CONT")
	run.wait().want(0, "lines of the log were dropped", "restarted")
	in.deploy(result.OutcomeUnchanged, "rebuild", "paused", toHost1)
}
