//go:build lab

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// dropIn adds to a unit of host2 for one test.
func dropIn(t *testing.T, unit, content string) {
	t.Helper()
	dir := "/etc/systemd/system/" + unit + ".d"
	during(t, world.host2, fmt.Sprintf("mkdir -p '%s' && printf '%s\\n' >'%s/test.conf' && systemctl daemon-reload", dir, content, dir),
		fmt.Sprintf("rm '%s/test.conf' && { rmdir '%s' 2>/dev/null || :; } && systemctl daemon-reload", dir, dir))
}

// allDown waits until the VM's helper services have ended, which they do after
// its own unit.
func (v vmOn) allDown() {
	v.t.Helper()
	eventually(v.t, v.name+" is down", 20*time.Second, func() bool { return v.link("booted") == "" })
}

// VMs that start together do so a few at a time, none fails, and one that
// cannot start keeps nobody waiting.
// microvm-nix/microvm.nix#317, #353
func TestStartsAreLimited(t *testing.T) {
	const atOnce, bootSeconds = 2, 2
	modules := map[string]string{"herd-bad": vmModule("herd-bad", `microvm.binScripts.tap-up = "exit 1";`)}
	names := []string{"herd-bad"}
	for i := range 6 {
		name := fmt.Sprintf("herd%d", i)
		modules[name], names = vmModule(name), append(names, name)
	}
	in := newInfra(t, "", modules)
	for _, name := range names {
		in.ferry("install", name, "root@host2").want(0, "installed")
	}
	dropIn(t, "microvm-start-gate@.service", fmt.Sprintf(`[Service]\nEnvironment=STARTS_AT_ONCE=%d BOOT_SECONDS=%d`, atOnce, bootSeconds))
	units := "microvm@" + strings.Join(names, " microvm@")
	defer output(t, world.host2, "sh", "-c", "systemctl stop "+units)
	output(t, world.host2, "sh", "-c", "systemctl start "+units+" || :")

	var starts []int // microseconds since the host's boot, in their order
	listed := output(t, world.host2, "sh", "-c", "for u in "+units+"; do systemctl show --value -p ActiveEnterTimestampMonotonic $u; done | sort -n")
	for _, line := range strings.Fields(listed) {
		at, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		if at > 0 { // herd-bad never was up
			starts = append(starts, at)
		}
	}
	if len(starts) != 6 {
		t.Fatalf("%d VMs started instead of 6", len(starts))
	}
	t.Logf("starts, in ms after the first: %v", sinceFirst(starts))
	for i := atOnce; i < len(starts); i++ {
		if gap := starts[i] - starts[i-atOnce]; gap < bootSeconds*1e6*9/10 {
			t.Errorf("VM %d started %d ms after VM %d: more than %d at once", i, gap/1000, i-atOnce, atOnce)
		}
	}
	if last := starts[5] - starts[0]; last > 20e6 {
		t.Errorf("the last VM waited %d ms", last/1000)
	}
}

func sinceFirst(starts []int) []int {
	var ms []int
	for _, s := range starts {
		ms = append(ms, (s-starts[0])/1000)
	}
	return ms
}

// A VM that waits for its turn can be stopped.
// microvm-nix/microvm.nix#317, #353
func TestVMThatWaitsForItsTurnCanBeStopped(t *testing.T) {
	in := newInfra(t, "", map[string]string{"first": vmModule("first"), "second": vmModule("second")})
	for _, name := range []string{"first", "second"} {
		in.ferry("install", name, "root@host2").want(0)
	}
	dropIn(t, "microvm-start-gate@.service", `[Service]\nEnvironment=STARTS_AT_ONCE=1 BOOT_SECONDS=600`)
	first, second := onHost(t, world.host2, "first"), onHost(t, world.host2, "second")
	first.systemctl("start")
	output(t, world.host2, "systemctl", "start", "--no-block", "microvm@second")
	eventually(t, "second waits", 20*time.Second, func() bool {
		return output(t, world.host2, "systemctl", "show", "--value", "-p", "ActiveState", "microvm-start-gate@second") == "activating"
	})
	if second.property("ActiveState") != "inactive" {
		t.Errorf("second is %s", second.property("ActiveState"))
	}
	in.ferry("rebuild", "second", "root@host2", "--dry-run").without("is stopped")
	in.ferry("stop", "second", "--host", "root@host2").want(0, "stopped")
	eventually(t, "nothing of second waits any more", 20*time.Second, func() bool {
		return !strings.Contains(output(t, world.host2, "systemctl", "list-jobs", "--no-legend"), "second")
	})
	// The slot is free as soon as the VM that has it stops.
	first.systemctl("stop")
	second.systemctl("start")
	second.systemctl("stop")
}

// A guest in QEMU shuts down in full before its unit has stopped.
// microvm-nix/microvm.nix#262, #464, #578
func TestGuestFinishesItsShutdown(t *testing.T) {
	forget(t, "web")
	if err := world.ResetFlake(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := &infra{t: t, dir: "/root/infra"}
	in.ferry("rebuild", "web").want(0, "started")
	vm := onHost(t, world.host1, "web")
	// The guest's last act: it is slow, and says when it is done.
	in.op("ssh", "root@web", `systemd-run --quiet --unit=last-act --property=ExecStop='/bin/sh -c "sleep 3; echo last act done >/dev/ttyS0"' --property=TimeoutStopSec=60 --remain-after-exit true`)
	cursor := output(t, world.host1, "sh", "-c", `journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p'`)
	ended := lab.Took()
	vm.systemctl("stop")
	t.Logf("stopping took %s", ended().Round(100*time.Millisecond))
	said := output(t, world.host1, "journalctl", "-q", "-o", "cat", "-u", "microvm@web", "--after-cursor="+cursor)
	if done, off := strings.Index(said, "last act done"), strings.Index(said, "reboot: "); done < 0 || off < done {
		t.Errorf("the guest did not finish its shutdown:\n%s", said)
	}
	if got := vm.property("Result"); got != "success" {
		t.Errorf("the result is %s", got)
	}
	vm.allDown()
}

// A guest that does not shut down is ended at the unit's timeout.
// microvm-nix/microvm.nix#262, #464, #578
func TestStubbornGuestIsEnded(t *testing.T) {
	in := newInfra(t, "", map[string]string{"stubborn": vmModule("stubborn", `microvm.binScripts.microvm-shutdown = "exit 0";`)})
	in.deploy(result.OutcomeStarted, "rebuild", "stubborn", "root@host2")
	dropIn(t, "microvm@stubborn.service", `[Service]\nTimeoutStopSec=4s`)
	vm := onHost(t, world.host2, "stubborn")
	began, ended := time.Now(), lab.Took()
	vm.systemctl("stop")
	if took := ended(); time.Since(began) < 3*time.Second || took > 30*time.Second {
		t.Errorf("stopping took %s with a timeout of 4 s", took)
	}
	if got := vm.property("MainPID"); got != "0" {
		t.Errorf("process %s is still there", got)
	}
	vm.allDown()
}

// A VM that runs one version while another is current is taken down by the
// scripts of the one that runs, and comes up by those of the other.
// microvm-nix/microvm.nix#302, #469
func TestTeardownIsOfWhatRuns(t *testing.T) {
	module := func(tap string) string {
		return vmModule("drift", fmt.Sprintf(`microvm.interfaces = [{ type = "tap"; id = %q; mac = "02:00:00:00:00:61"; }];`, tap))
	}
	in := newInfra(t, "", map[string]string{"drift": module("vm-drift1")})
	in.deploy(result.OutcomeStarted, "rebuild", "drift", "root@host2")
	vm := onHost(t, world.host2, "drift")
	taps := func() string {
		return output(t, world.host2, "sh", "-c", "cd /sys/class/net && echo vm-drift*")
	}
	first := vm.link("booted")
	in.write("drift.nix", module("vm-drift2"))
	in.ferry("install", "drift", "root@host2").want(0, "installed")
	if vm.link("booted") != first || vm.link("current") == first || taps() != "vm-drift1" {
		t.Fatalf("installing touched what runs: booted %s, current %s, taps %s", vm.link("booted"), vm.link("current"), taps())
	}
	vm.systemctl("restart")
	if vm.link("booted") != vm.link("current") || taps() != "vm-drift2" {
		t.Errorf("after the restart: booted %s, taps %s", vm.link("booted"), taps())
	}
	in.write("drift.nix", module("vm-drift1"))
	in.ferry("install", "drift", "root@host2").want(0, "installed")
	vm.systemctl("stop")
	eventually(t, "the interface that was up is gone", 20*time.Second, func() bool { return taps() == "vm-drift*" })
}

// Setting the host up again, with other units, restarts no VM.
// microvm-nix/microvm.nix#104, #110
func TestSetupRestartsNoVM(t *testing.T) {
	in := newInfra(t, "", map[string]string{"steady": vmModule("steady")})
	in.deploy(result.OutcomeStarted, "rebuild", "steady", "root@host2")
	vm := onHost(t, world.host2, "steady")
	before := vm.invocation()
	// As an older ferry left it: another unit, and noted as its own.
	output(t, world.host2, "sh", "-c", `set -e
unit=/etc/systemd/system/microvm@.service
was=$(sha256sum <$unit); was=${was%% *}
sed -i 's/^TimeoutStopSec=.*/TimeoutStopSec=77s/' $unit
now=$(sha256sum <$unit); now=${now%% *}
sed -i "s/$was/$now/" /var/lib/ferry/setup.json
systemctl daemon-reload`)
	in.ferry("host", "setup", "root@host2", "--dry-run").want(0, "update file /etc/systemd/system/microvm@.service", "-TimeoutStopSec=77s")
	if vm.property("TimeoutStopUSec") != "1min 17s" {
		t.Fatalf("a dry run changed the unit: %s", vm.property("TimeoutStopUSec"))
	}
	in.ferry("host", "setup", "root@host2").want(0, "updated file /etc/systemd/system/microvm@.service")
	if vm.property("TimeoutStopUSec") != "2min" || vm.property("NeedDaemonReload") != "no" {
		t.Errorf("the new unit is not in force: %s", vm.property("TimeoutStopUSec"))
	}
	if vm.invocation() != before {
		t.Error("the VM was restarted")
	}
	vm.systemctl("stop")
}

// A VM that ends again and again is failed in the end, with nothing of it left
// up; the next deployment starts it nevertheless.
func TestRestartLoopEnds(t *testing.T) {
	in := newInfra(t, "", map[string]string{"looping": vmModule("looping", `microvm.preStart = "exit 3";`)})
	dropIn(t, "microvm@looping.service", `[Service]\nRestartSec=100ms`)
	in.ferry("rebuild", "looping", "root@host2", "--no-rollback").want(1, "microvm@looping.service")
	vm := onHost(t, world.host2, "looping")
	eventually(t, "the loop ends", time.Minute, func() bool { return vm.property("ActiveState") == "failed" })
	vm.allDown()
	if log := output(t, world.host2, "journalctl", "-q", "-o", "cat", "-u", "microvm@looping"); !strings.Contains(log, "repeated too quickly") {
		t.Errorf("its log: %s", log)
	}
	in.write("looping.nix", vmModule("looping"))
	in.ferry("rebuild", "looping", "root@host2").want(0, "started")
	vm.systemctl("stop")
}
