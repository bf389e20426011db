//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
)

const liveFlake = `{
      hosts.host1.address = "root@host1";
      vms.NAME = { host = "host1"; target = "root@box"; };
    }`

// newLive is a flake with one VM that can be switched live: its unit runs on
// host1 and the container guest1 plays the system inside, which shares host1's
// store as a guest does.
func newLive(t *testing.T, name string, lines ...string) (*infra, vmOn) {
	t.Helper()
	in := newInfra(t, strings.ReplaceAll(liveFlake, "NAME", name), map[string]string{name: liveModule(name, "first", lines...)})
	in.ferry("install", name).want(0, "installed on root@host1 as generation 1")
	vm := onHost(t, world.host1, name)
	vm.systemctl("start")
	// As a guest on a fresh root file system: no profile yet.
	output(t, world.guest1, "sh", "-c", "rm -f /nix/var/nix/profiles/system*")
	vm.boot(world.guest1)
	in.ferry("rebuild", name).want(0, "unchanged")
	return in, vm
}

// A → B live → A: each step is a live switch, the unit is never restarted, and
// the registration and the profile in the guest are those of the new system.
func TestLiveSwitchThereAndBack(t *testing.T) {
	in, vm := newLive(t, "there")
	first := runningSystem(t, world.guest1)
	invocation := vm.invocation()

	in.write("there.nix", liveModule("there", "second"))
	b := in.deploy(result.OutcomeSwitched, "rebuild", "there")
	if got := runningSystem(t, world.guest1); got != string(b.System) || got == first {
		t.Fatalf("the guest runs %s, wanted %s", got, b.System)
	}
	if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, "second") {
		t.Errorf("the page is %s", got)
	}
	if got := output(t, world.guest1, "readlink", "-f", "/nix/var/nix/profiles/system"); got != string(b.System) {
		t.Errorf("the guest's profile is %s", got)
	}
	if got := output(t, world.guest1, "sh", "-c", "ls -d /nix/var/nix/profiles/system-*-link | wc -l"); got != "2" {
		t.Errorf("the guest has %s generations: the booted system should be the way back", got)
	}
	output(t, world.guest1, "nix-store", "--check-validity", string(b.System))
	if vm.link("booted") == vm.link("current") || vm.link("current") != string(b.Runner) {
		t.Errorf("booted %s, current %s", vm.link("booted"), vm.link("current"))
	}
	in.ferry("rebuild", "there").want(0, "unchanged")

	in.write("there.nix", liveModule("there", "first"))
	in.deploy(result.OutcomeSwitched, "rebuild", "there")
	if got := runningSystem(t, world.guest1); got != first {
		t.Errorf("the guest runs %s, wanted %s again", got, first)
	}
	if vm.invocation() != invocation {
		t.Error("the unit was restarted")
	}
}

// What a live-switched guest runs survives two later installs and a
// garbage collection on the host.
func TestRunningSystemSurvivesCollection(t *testing.T) {
	in, vm := newLive(t, "kept")
	in.write("kept.nix", liveModule("kept", "second"))
	b := in.deploy(result.OutcomeSwitched, "rebuild", "kept")
	for _, page := range []string{"third", "fourth"} {
		in.write("kept.nix", liveModule("kept", page))
		in.deploy(result.OutcomeInstalled, "install", "kept")
	}
	output(t, world.host1, "nix-collect-garbage", "-d")
	valid(t, world.host1, string(b.System))
	valid(t, world.host1, vm.link("booted"))
	if got := runningSystem(t, world.guest1); got != string(b.System) {
		t.Fatalf("the guest runs %s", got)
	}
	output(t, world.guest1, "ls", string(b.System)+"/bin/switch-to-configuration")

	// `install` then `rebuild` activates what was installed.
	d := in.deploy(result.OutcomeSwitched, "rebuild", "kept")
	if got := runningSystem(t, world.guest1); got != string(d.System) {
		t.Errorf("the guest runs %s, wanted %s", got, d.System)
	}
	// Once the VM has booted again the root is not needed any more, nor made up.
	vm.systemctl("restart")
	in.ferry("rebuild", "kept").want(0, "unchanged")
}

func TestHardwareWaitsForARestart(t *testing.T) {
	in, vm := newLive(t, "grow", "microvm.vcpu = 1;")
	invocation := vm.invocation()
	bigger := strings.Replace(liveModule("grow", "second", "microvm.vcpu = 1;"), "mem = 256", "mem = 384", 1)
	in.write("grow.nix", bigger)
	in.ferry("rebuild", "grow").want(0, "switched live", "memory 256 → 384 MiB waits for a restart", "--restart=if-needed")
	if vm.invocation() != invocation {
		t.Fatal("the unit was restarted")
	}
	in.ferry("rebuild", "grow").want(0, "unchanged", "memory 256 → 384 MiB waits for a restart")
	in.ferry("rebuild", "grow", "--restart=never").want(0, "unchanged")
	// Only guest1's unit is restarted here, not its container: leave the target out.
	in.write("flake.nix", strings.Replace(in.read("flake.nix"), `target = "root@box";`, "", 1))
	in.ferry("rebuild", "grow", "--restart=if-needed").want(0, "restarted", "memory 256 → 384 MiB").without("waits")
	if vm.invocation() == invocation {
		t.Fatal("the unit was not restarted")
	}
	in.ferry("rebuild", "grow").want(0, "unchanged").without("waits")
}

// What NixOS refuses to switch to is not tried: it is installed and waits for a
// restart, and says so each time.
func TestSwitchInhibitorsWaitForARestart(t *testing.T) {
	inhibitor := func(v string) string { return `system.switch.inhibitors.dbus-implementation = "` + v + `";` }
	in, vm := newLive(t, "inhib", inhibitor("dbus"))
	first, invocation := runningSystem(t, world.guest1), vm.invocation()
	const waits = "switch inhibitor dbus-implementation dbus → broker waits for a restart"

	in.write("inhib.nix", liveModule("inhib", "second", inhibitor("dbus")))
	in.deploy(result.OutcomeSwitched, "rebuild", "inhib")
	in.write("inhib.nix", liveModule("inhib", "third", inhibitor("broker")))
	in.ferry("rebuild", "inhib", "--dry-run").want(0, waits).without("switch live")
	in.ferry("rebuild", "inhib", "test").want(1, "NixOS refuses to test it", "dbus-implementation dbus → broker")
	in.ferry("rebuild", "inhib", "dry-activate").want(0, "dry-activated")
	second := runningSystem(t, world.guest1)
	res := in.ferry("rebuild", "inhib").want(0, "installed", waits, "the system inside waits for a restart", "--restart=if-needed")
	res.without("switched")
	if got := runningSystem(t, world.guest1); got != second || got == first || vm.invocation() != invocation {
		t.Fatalf("the guest runs %s, wanted %s", got, second)
	}
	system := output(t, world.host1, "readlink", "-f", vm.link("current")+"/share/microvm/system")
	refused := output(t, world.guest1, "sh", "-c", system+"/bin/switch-to-configuration test 2>&1; echo status $?")
	if !strings.Contains(refused, "dbus-implementation : dbus -> broker") || !strings.Contains(refused, "status 1") {
		t.Errorf("the lab's NixOS does not refuse: %s", refused)
	}
	in.ferry("rebuild", "inhib").want(0, "unchanged", waits)
	in.ferry("rebuild", "inhib", "--restart=never").want(0, "unchanged", waits)
	in.ferry("list", toHost1).want(0, "switch inhibitor dbus-implementation dbus → broker", "waits for a restart")

	in.write("flake.nix", strings.Replace(in.read("flake.nix"), `target = "root@box";`, "", 1))
	in.ferry("rebuild", "inhib", "--restart=if-needed").want(0, "restarted", "NixOS refuses to switch to it: switch inhibitor dbus-implementation dbus → broker").without("waits")
	if vm.invocation() == invocation {
		t.Fatal("the unit was not restarted")
	}
	in.ferry("rebuild", "inhib").want(0, "unchanged").without("waits")
}

// The actions leave alone what nixos-rebuild's do.
func TestActions(t *testing.T) {
	in, vm := newLive(t, "acts")
	first, runner := runningSystem(t, world.guest1), vm.link("current")
	profile := func() string { return output(t, world.guest1, "readlink", "-f", "/nix/var/nix/profiles/system") }
	in.write("acts.nix", liveModule("acts", "second"))

	before := profile()
	in.ferry("rebuild", "acts", "dry-activate").want(0, "dry-activated", "would ")
	if runningSystem(t, world.guest1) != first || vm.link("current") != runner || profile() != before {
		t.Fatal("dry-activate changed something")
	}
	res := in.deploy(result.OutcomeTested, "rebuild", "acts", "test")
	if runningSystem(t, world.guest1) != string(res.System) || vm.link("current") != runner || profile() != before {
		t.Fatalf("after test: runs %s, current %s, profile %s", runningSystem(t, world.guest1), vm.link("current"), profile())
	}
	collectGarbage(t, world.host1)
	valid(t, world.host1, string(res.System))
	in.ferry("rebuild", "acts", "boot").want(0, "installed")
	if vm.link("current") == runner {
		t.Fatal("boot did not install")
	}
	// What is tested runs and is now installed: nothing is left to switch.
	in.ferry("rebuild", "acts").want(0, "unchanged")
	in.ferry("switch", "acts", "--json").want(0, `"unchanged"`)
}

// ferry switch, with the host known and without it.
func TestSwitchCommand(t *testing.T) {
	in, vm := newLive(t, "sw")
	in.write("sw.nix", liveModule("sw", "second"))
	in.ferry("switch", "sw").want(1, "is not installed on root@host1", "ferry install sw", "nothing was changed")
	in.deploy(result.OutcomeInstalled, "install", "sw")
	res := in.deploy(result.OutcomeSwitched, "switch", "sw")
	if got := runningSystem(t, world.guest1); got != string(res.System) {
		t.Fatalf("the guest runs %s", got)
	}
	if got := vm.root("ferry/sw/running"); got != string(res.System) {
		t.Errorf("the running system's root is %q", got)
	}

	in.write("sw.nix", liveModule("sw", "third"))
	in.deploy(result.OutcomeInstalled, "install", "sw", toHost1)
	in.write("flake.nix", strings.Replace(in.read("flake.nix"), "vms.sw", "vms.other", 1))
	in.ferry("switch", "sw").want(2, "the target of sw is not known")
	in.ferry("switch", "sw", "root@box", "switch").want(0, "switched live in root@box", "can't keep the running system")
	if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, "third") {
		t.Errorf("the page is %s", got)
	}
	output(t, world.guest1, "nix-store", "--check-validity", runningSystem(t, world.guest1))
	// The host learns at the next run what the guest runs.
	in.ferry("rebuild", "sw", toHost1, "root@box").want(0)
	if got := vm.root("ferry/sw/running"); got != runningSystem(t, world.guest1) {
		t.Errorf("the running system's root is %q", got)
	}
}

// A runner without a registration of its own: the host dumps one.
func TestSwitchWithoutRegInfo(t *testing.T) {
	in, _ := newLive(t, "noreg", "microvm.registerClosure = false;")
	in.write("noreg.nix", liveModule("noreg", "second", "microvm.registerClosure = false;"))
	res := in.deploy(result.OutcomeSwitched, "rebuild", "noreg")
	output(t, world.guest1, "nix-store", "--check-validity", string(res.System))
}

// A switch that fails and is not to be undone leaves `current` alone, says what
// the guest runs, and what it runs is kept.
func TestFailedSwitchLeavesCurrent(t *testing.T) {
	in, vm := newLive(t, "fails")
	runner := vm.link("current")
	in.write("fails.nix", liveModule("fails", "second", "lab.failingUnit = true;"))
	in.ferry("rebuild", "fails", "--no-rollback").want(1, "exit status 4", "`current` on the host is unchanged")
	if vm.link("current") != runner {
		t.Fatal("`current` moved")
	}
	collectGarbage(t, world.host1)
	valid(t, world.host1, runningSystem(t, world.guest1))
	// Running the same again is no way around: the units still fail.
	in.ferry("rebuild", "fails", "--dry-run").want(0, "switch live")
	in.ferry("rebuild", "fails", "--no-rollback").want(1, "exit status 4")
	if vm.link("current") != runner {
		t.Fatal("`current` moved")
	}
	in.write("fails.nix", liveModule("fails", "third"))
	in.deploy(result.OutcomeSwitched, "rebuild", "fails")
	in.ferry("rebuild", "fails").want(0, "unchanged")
}
