//go:build lab

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// A VM that somebody stopped stays stopped, and ferry says so; one that was
// only installed is started by the first rebuild.
func TestStoppedStaysStopped(t *testing.T) {
	in := newInfra(t, "", map[string]string{"rest": vmModule("rest")})
	vm := onHost(t, world.host1, "rest")
	in.ferry("install", "rest", toHost1).want(0, "installed")
	if vm.property("ActiveState") != "inactive" {
		t.Fatal("install started the VM")
	}
	in.ferry("rebuild", "rest", toHost1).want(0, "started", "installed but never started")

	vm.systemctl("stop")
	in.ferry("rebuild", "rest", toHost1).want(0, "unchanged", "the VM stays stopped")
	in.write("rest.nix", vmModule("rest", `lab.note = "2";`))
	in.ferry("rebuild", "rest", toHost1).want(0, "installed", "the VM stays stopped", "ferry start rest")
	if vm.property("ActiveState") != "inactive" || vm.link("booted") != "" {
		t.Fatal("the stopped VM was started")
	}
	in.ferry("rebuild", "rest", toHost1, "--restart=always").want(0, "started")
	if vm.link("booted") != vm.link("current") {
		t.Error("the new runner was not booted")
	}
	in.write("rest.nix", vmModule("rest", `lab.note = "3";`))
	in.ferry("rebuild", "rest", toHost1, "--restart=never").want(0, "installed", "the system inside waits for a restart")
	if vm.link("booted") == vm.link("current") {
		t.Error("the VM was restarted in spite of --restart=never")
	}
	in.ferry("rebuild", "rest", toHost1).want(0, "restarted")
}

// A guest that rebooted by itself after a live switch has booted what is
// current, with new hardware; nothing is left to do, and `booted` says so.
func TestGuestThatRebootedByItself(t *testing.T) {
	in, vm := newLive(t, "selfboot")
	in.write("selfboot.nix", strings.Replace(liveModule("selfboot", "second"), "mem = 256", "mem = 384", 1))
	in.ferry("rebuild", "selfboot").want(0, "switched live", "waits for a restart")
	invocation := vm.invocation()
	output(t, world.host1, "systemctl", "kill", "--signal=KILL", "microvm@selfboot")
	eventually(t, "systemd starts the VM again", 30*time.Second, func() bool {
		return vm.property("ActiveState") == "active" && vm.invocation() != invocation
	})
	if vm.link("booted") != vm.link("current") {
		t.Fatalf("booted is %s though %s was started", vm.link("booted"), vm.link("current"))
	}
	in.ferry("rebuild", "selfboot").want(0, "unchanged").without("waits")

	// With the guest's reboot the earlier live switch counts no more: what it
	// boots is what the next decision is made from.
	in.write("selfboot.nix", strings.Replace(liveModule("selfboot", "first"), "mem = 256", "mem = 384", 1))
	vm.boot(world.guest1)
	in.deploy(result.OutcomeSwitched, "rebuild", "selfboot")
}

// A unit whose helper fails: the message names the helper and shows its log.
func TestFailingHelperIsNamed(t *testing.T) {
	for script, unit := range map[string]string{
		"tap-up":        "microvm-tap-interfaces@helpless.service",
		"macvtap-up":    "microvm-macvtap-interfaces@helpless.service",
		"pci-setup":     "microvm-pci-devices@helpless.service",
		"virtiofsd-run": "microvm-virtiofsd@helpless.service",
	} {
		t.Run(script, func(t *testing.T) {
			in := newInfra(t, "", map[string]string{"helpless": vmModule("helpless",
				fmt.Sprintf(`microvm.binScripts.%s = "echo no luck with %s >&2; exit 1";`, script, script))})
			vm := onHost(t, world.host1, "helpless")
			in.ferry("rebuild", "helpless", toHost1).want(4, unit, "no luck with "+script, "stopped and uninstalled")
			in.write("helpless.nix", vmModule("helpless"))
			in.ferry("rebuild", "helpless", toHost1).want(0, "started")
			if vm.property("ActiveState") != "active" {
				t.Error("the VM does not run")
			}
		})
	}
}

// A `current` that is not root's is not started, and not deployed over.
func TestForeignCurrentIsNamed(t *testing.T) {
	in := newInfra(t, "", map[string]string{"planted": vmModule("planted")})
	vm := onHost(t, world.host1, "planted")
	in.deploy(result.OutcomeInstalled, "install", "planted", toHost1)
	output(t, world.host1, "chown", "-h", "microvm", vm.dir()+"/current")
	in.ferry("start", "planted", "--host", toHost1).want(1, "current")
	if vm.property("ActiveState") == "active" {
		t.Error("it was started")
	}
	in.ferry("rebuild", "planted", toHost1).want(1, "instead of root", "chown -h root", "nothing was changed")
}

// A hypervisor that ends at once is no success, though systemd's start was one.
func TestImmediateExitIsNoticed(t *testing.T) {
	in := newInfra(t, "", map[string]string{"brief": vmModule("brief", `microvm.preStart = "echo out of luck; exit 3";`)})
	in.ferry("rebuild", "brief", toHost1).want(4, "microvm@brief.service", "out of luck")
	vm := onHost(t, world.host1, "brief")
	in.write("brief.nix", vmModule("brief"))
	in.ferry("rebuild", "brief", toHost1).want(0, "started")
	if vm.link("booted") != vm.link("current") {
		t.Error("booted is not current")
	}
}

// A third-party runner: nothing but config.microvm.declaredRunner.
func TestThirdPartyRunner(t *testing.T) {
	forget(t, "thirdparty")
	in := &infra{t: t, dir: "/root/infra"}
	in.ferry("rebuild", "thirdparty", toHost1).want(0, "started")
	in.ferry("rebuild", "thirdparty", toHost1).want(0, "unchanged")
}

// A garbage collector that runs all the time takes nothing that a deployment
// needs, at any moment of it.
func TestCollectorRunningAllTheTime(t *testing.T) {
	in, vm := newLive(t, "gc")
	ctx, stop := context.WithCancel(t.Context())
	collector := make(chan int, 1)
	go func() {
		runs := 0
		for ctx.Err() == nil {
			if _, err := world.host1.Output(ctx, "nix-collect-garbage"); err == nil {
				runs++
			}
		}
		collector <- runs
	}()
	for _, page := range []string{"one", "two", "three", "four"} {
		in.write("gc.nix", liveModule("gc", page))
		res := in.deploy(result.OutcomeSwitched, "rebuild", "gc")
		if got := runningSystem(t, world.guest1); got != string(res.System) {
			t.Errorf("the guest runs %s", got)
		}
		valid(t, world.host1, string(res.Runner))
		valid(t, world.host1, vm.link("old"))
		valid(t, world.host1, vm.link("booted"))
	}
	stop()
	if runs := <-collector; runs < 3 {
		t.Errorf("the collector ran only %d times", runs)
	} else {
		t.Logf("the collector ran %d times", runs)
	}
	if got := output(t, world.host1, "sh", "-c", "ls /nix/var/nix/gcroots/ferry/gc"); got != "running" {
		t.Errorf("roots left: %q", got)
	}
}

// The host may be this machine.
func TestLocalHost(t *testing.T) {
	in := newInfra(t, "", map[string]string{"here": vmModule("here")})
	output(t, world.host1, "rm", "-rf", in.dir, "/root/microvm.nix", "/root/site")
	for _, dir := range []string{in.dir, "/root/microvm.nix", "/root/site"} {
		to := world.host1.Path(dir)
		if out, err := exec.Command("sh", "-c", `mkdir -p "$(dirname "$2")" && cp -a "$1" "$2"`, "sh", world.operator.Path(dir), to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	before := connections(t, world.host1)
	run := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		err := world.host1.Run(t.Context(), lab.Cmd{Args: append([]string{"ferry"}, args...), Dir: in.dir, Stdout: &out, Stderr: &out})
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		return out.String()
	}
	if got := run("rebuild", "here", "local"); !strings.Contains(got, "here: started on local") {
		t.Errorf("ferry said %s", got)
	}
	if got := run("rebuild", "here", "local"); !strings.Contains(got, "here: unchanged on local") {
		t.Errorf("ferry said %s", got)
	}
	if got := connections(t, world.host1); got != before {
		t.Error("a local deployment connected by SSH")
	}
}
