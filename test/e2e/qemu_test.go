//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
)

// The main job with a guest in QEMU, as the demo shows it: the first deployment
// boots it, a change is switched live (same boot id), a change of memory waits
// for a restart and is applied by one (new boot id).
func TestRealGuest(t *testing.T) {
	forget(t, "web")
	if err := world.ResetFlake(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := &infra{t: t, dir: "/root/infra"}
	vm := onHost(t, world.host1, "web")
	bootID := func() string { return in.op("ssh", "root@web", "cat", "/proc/sys/kernel/random/boot_id") }
	page := func() string { return in.op("curl", "-s", "--max-time", "20", "http://web/") }
	edit := func(old, new string) {
		t.Helper()
		if err := world.EditFlake("vms/web.nix", old, new); err != nil {
			t.Fatal(err)
		}
	}

	first := in.deploy(result.OutcomeStarted, "rebuild", "web")
	boot := bootID()
	if first.BootID != boot || boot == "" {
		t.Errorf("ferry reports boot id %q, the guest has %q", first.BootID, boot)
	}
	if !strings.Contains(page(), "Hello") {
		t.Errorf("the page is %s", page())
	}
	invocation := vm.invocation()
	profile := func() string {
		return in.op("ssh", "root@web", "readlink -f /nix/var/nix/profiles/system; ls -d /nix/var/nix/profiles/system-*-link | wc -l")
	}

	edit(`text = "Hello"`, `text = "Second"`)
	second := in.deploy(result.OutcomeSwitched, "rebuild", "web")
	if bootID() != boot || vm.invocation() != invocation {
		t.Fatal("a live switch booted the guest")
	}
	if !strings.Contains(page(), "Second") {
		t.Errorf("the page is %s", page())
	}
	if got := profile(); got != string(second.System)+"\n2" {
		t.Errorf("the guest's profile: %s", got)
	}
	before := connections(t, world.host1)
	in.ferry("rebuild", "web").want(0, "unchanged")
	if got := connections(t, world.host1) - before; got != 1 {
		t.Errorf("a run without a change made %d connections", got)
	}

	edit("mem = 512", "mem = 640")
	in.ferry("rebuild", "web").want(0, "memory 512 → 640 MiB waits for a restart")
	if bootID() != boot {
		t.Fatal("a change of memory booted the guest")
	}
	in.ferry("rebuild", "web", "--restart=if-needed").want(0, "restarted", "memory 512 → 640 MiB")
	if bootID() == boot {
		t.Fatal("the restart did not boot the guest")
	}
	if got := vm.link("booted"); got != vm.link("current") {
		t.Errorf("booted is %s", got)
	}
	if got := in.op("ssh", "root@web", "cat", "/proc/meminfo"); !strings.Contains(got, "MemTotal:") {
		t.Error("no memory to be seen")
	}
	vm.systemctl("stop")
}

// A guest in QEMU goes back from a switch whose units fail. Where something
// holds NixOS's lock, so that it can't be switched back, it boots what it had.
func TestRealGuestGoesBack(t *testing.T) {
	forget(t, "web")
	if err := world.ResetFlake(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := &infra{t: t, dir: "/root/infra"}
	vm := onHost(t, world.host1, "web")
	edit := func(old, new string) {
		t.Helper()
		if err := world.EditFlake("vms/web.nix", old, new); err != nil {
			t.Fatal(err)
		}
	}
	inside := func() string {
		return in.op("ssh", "root@web", "ls -l /nix/var/nix/profiles | grep -o 'system.*'; readlink -f /run/current-system; cat /proc/sys/kernel/random/boot_id; curl -s http://localhost/; ls /etc/systemd/system/*.service")
	}
	first := in.deploy(result.OutcomeStarted, "rebuild", "web")
	before, host := inside(), vm.contract()

	edit(`text = "Hello"`, `text = "Wrong"`)
	edit(`services.page.enable`, "lab.failingUnit = true;\n  services.page.enable")
	in.ferry("rebuild", "web").want(4, "failing.service", "undone: the guest runs "+string(first.System))
	if after := inside(); after != before {
		t.Errorf("the guest was not put back:\n%s", difference(before, after))
	}
	vm.wantContract(host)

	edit(`lab.failingUnit = true;`, `lab.failingUnit = true;
  lab.activation = "systemd-run --quiet flock /run/nixos/switch-to-configuration.lock sleep 600";`)
	r := in.ferry("rebuild", "web", "--json").want(4, "undone by a boot: the guest runs "+string(first.System)).result()
	if r.BootID == "" || strings.Contains(before, r.BootID) || !strings.Contains(inside(), r.BootID) {
		t.Errorf("ferry reports boot id %q; before:\n%s\nafter:\n%s", r.BootID, before, inside())
	}
	if page := in.op("curl", "-s", "--max-time", "20", "http://web/"); !strings.Contains(page, "Hello") {
		t.Errorf("the page is %s", page)
	}
	vm.wantContract(host)
	vm.systemctl("stop")
}
