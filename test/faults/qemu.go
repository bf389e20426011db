//go:build lab

package main

import (
	"fmt"

	"ferry/internal/guest"
	"ferry/internal/host/step"
)

// qemuWay is a VM with a real guest on host3, which boots in half a minute.
func qemuWay(name string, w way) *way {
	w.name, w.machine, w.on, w.target = name, qemu, "host3", "web"
	w.module = func(name string, rev int) string {
		return qemuModule(name, fmt.Sprintf(`services.page.text = "revision %d";`, rev))
	}
	if w.bad != nil { // what comes up may take its time, on a busy machine
		w.args = append(w.args, "--confirm-timeout=60s")
	}
	return &w
}

func qemuModule(name, lines string) string {
	return fmt.Sprintf(`{ ... }:
{
  networking.hostName = %q;
  networking.address = "10.23.0.51";
  microvm.mem = 512;
  microvm.shares = [{ tag = "ro-store"; source = "/nix/store"; mountPoint = "/nix/.ro-store"; }];
  microvm.interfaces = [{ type = "tap"; id = "vm-faults"; mac = "02:00:00:00:00:51"; }];
  services.page.enable = true;
  %s
}
`, name, lines)
}

// kernelSays is a guest whose kernel gets a word more.
func kernelSays(word string) func(string, int) string {
	return func(name string, rev int) string {
		return qemuModule(name, fmt.Sprintf(`services.page.text = "revision %d";
  boot.kernelParams = [ "loglevel=4" "quiet" "net.ifnames=0" "mitigations=off" "random.trust_cpu=on" "audit=0" "systemd.show_status=0" %q ];`, rev, word))
	}
}

// qemuTrials are those with a guest in QEMU. All share one VM, so they come one
// after the other; the ways differ in what is deployed.
func qemuTrials() []trial {
	live := qemuWay("guest", way{})
	failing := qemuWay("guest", way{bad: func(name string, rev int) string {
		return qemuModule(name, fmt.Sprintf(`services.page.text = "revision %d"; lab.failingUnit = true;`, rev))
	}})
	restart := qemuWay("guest", way{args: []string{"--restart=always"}})
	dead := func(bad func(string, int) string) *way {
		return qemuWay("guest", way{bad: bad, args: []string{"--restart=always"}})
	}
	unbooted := dead(func(name string, rev int) string { // its processor never starts
		return qemuModule(name, fmt.Sprintf(`services.page.text = "revision %d"; microvm.qemu.extraArgs = [ "-S" ];`, rev))
	})
	return []trial{
		{way: live, step: string(guest.StepProfile), where: inGuest, fault: scriptKilled},
		{way: live, step: string(guest.StepSwitch), where: inGuest, fault: connectionCut},
		{way: live, step: string(guest.StepSwitch), where: inGuest, fault: guestKilled},
		{way: live, step: string(step.Current), where: onHost, fault: helperKilled},
		{way: live, step: string(step.Running), where: onHost, fault: hostKilled},
		{way: failing, step: string(guest.StepUndoSwitch), where: inGuest, fault: scriptKilled, once: true},
		{way: restart, step: string(step.Restart), where: onHost, fault: helperKilled},
		{way: restart, step: string(step.Await), where: onHost, fault: connectionCut},
		{way: unbooted, step: "booting", fault: fault{name: "never boots"}, ends: "A", once: true},
		{way: dead(kernelSays("systemd.unit=emergency.target")), step: "booting", fault: fault{name: "boots and hangs"}, ends: "A", once: true},
		{way: dead(kernelSays("rdinit=/none")), step: "booting", fault: fault{name: "reboots in a loop"}, ends: "A", once: true},
	}
}
