//go:build lab

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// liveContract is all that a live switch may change in a guest.
func liveContract(t *testing.T, guest *lab.Machine) string {
	t.Helper()
	return output(t, guest, "sh", "-c", `
for p in /nix/var/nix/profiles/* /run/current-system /run/booted-system /etc/systemd/system/*.service; do
  [ -L "$p" ] && echo "$p -> $(readlink "$p")"
done
cat /etc/hostname /proc/sys/kernel/random/boot_id
curl -s http://localhost/
systemctl list-units --plain --no-legend 'ferry-*'
systemctl list-units --plain --no-legend --state=failed`)
}

// wentBack fails the test unless guest1 and the VM on its host are as they were.
func (v vmOn) wentBack(guest, host string) {
	v.t.Helper()
	if after := liveContract(v.t, world.guest1); after != guest {
		v.t.Errorf("the guest was not put back:\n%s", difference(guest, after))
	}
	v.wantContract(host)
	if got := v.root("ferry/" + v.name + "/pending"); got != "" {
		v.t.Errorf("the pending root %s is left", got)
	}
}

// Whatever goes wrong after a switch has begun, the guest goes back
// and the exit code says so: profile and generations, the system, its units; on
// the host nothing had been moved.
// serokell/deploy-rs#214, #68
func TestFailedSwitchIsUndone(t *testing.T) {
	in, vm := newLive(t, "goesback")
	wrong := []struct {
		name  string
		lines []string
		args  []string
		says  string
	}{
		{"units fail", []string{"lab.failingUnit = true;"}, nil, "failing.service"},
		{"activation fails", []string{"lab.failingActivation = true;"}, nil, "exit status 2"},
		{"command fails", nil, []string{"--confirm-timeout=3s", "--check-command=echo out of luck; exit 7"}, "out of luck"},
		{"host check fails", nil, []string{"--confirm-timeout=3s", "--check-tcp=127.0.0.1:1"}, "127.0.0.1:1"},
	}
	for _, profile := range []string{"no profile yet", "a profile"} {
		guest, host := liveContract(t, world.guest1), vm.contract()
		for _, w := range wrong {
			t.Run(profile+", "+w.name, func(t *testing.T) {
				in, vm := &infra{t: t, dir: in.dir}, onHost(t, vm.host, vm.name)
				in.write("goesback.nix", liveModule("goesback", "wrong", w.lines...))
				r := in.ferry(append([]string{"rebuild", "goesback", "--json"}, w.args...)...).want(4, w.says, "undone: the guest runs ")
				if got := r.result().Outcome; got != result.OutcomeRolledBack {
					t.Errorf("outcome %s", got)
				}
				vm.wentBack(guest, host)
				if h := vm.history(); !strings.Contains(h[strings.LastIndex(h, "\n")+1:], `"outcome":"rolled-back"`) {
					t.Errorf("history: %s", h)
				}
			})
		}
		if profile == "no profile yet" {
			// What runs is known, and was left by nothing half-done.
			in.write("goesback.nix", liveModule("goesback", "first"))
			in.ferry("rebuild", "goesback").want(0, "unchanged")
			in.write("goesback.nix", liveModule("goesback", "good"))
			in.deploy(result.OutcomeSwitched, "rebuild", "goesback")
		}
	}
	in.write("goesback.nix", liveModule("goesback", "better"))
	in.deploy(result.OutcomeSwitched, "rebuild", "goesback", "--check-command=curl -s http://localhost/ | grep better", "--check-tcp=127.0.0.1:22")
}

func TestAcceptFailedUnits(t *testing.T) {
	in, _ := newLive(t, "accepts")
	in.write("accepts.nix", liveModule("accepts", "second", "lab.failingUnit = true;"))
	in.ferry("rebuild", "accepts", "--accept-failed-units").want(0, "accepted", "switched live")
	if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, "second") {
		t.Errorf("the page is %s", got)
	}
	output(t, world.guest1, "sh", "-c", "systemctl stop failing.service; systemctl reset-failed")
}

// `test` is undone as well, and so is a switch whose host nobody named.
func TestOtherSwitchesAreUndone(t *testing.T) {
	in, vm := newLive(t, "others")
	guest, host := liveContract(t, world.guest1), vm.contract()
	in.write("others.nix", liveModule("others", "wrong", "lab.failingUnit = true;"))
	in.ferry("rebuild", "others", "test").want(4, "undone: the guest runs ")
	vm.wentBack(guest, host)
	in.ferry("install", "others").want(0)
	host = vm.contract()
	in.write("flake.nix", strings.Replace(in.read("flake.nix"), "vms.others", "vms.nobody", 1))
	in.ferry("switch", "others", "root@box", "switch").want(4, "undone: the guest runs ")
	vm.wentBack(guest, host)
}

// The time for confirming begins when the switch has ended. The
// switch may take as long as it wants, unless a limit was asked for.
// serokell/deploy-rs#38, #55, #240
func TestSlowSwitchIsNotUndone(t *testing.T) {
	in, vm := newLive(t, "slow")
	in.write("slow.nix", liveModule("slow", "second", "lab.switchSleep = 6;"))
	in.deploy(result.OutcomeSwitched, "rebuild", "slow", "--confirm-timeout=2s")

	guest, host := liveContract(t, world.guest1), vm.contract()
	in.write("slow.nix", liveModule("slow", "third", "lab.switchSleep = 600;"))
	in.ferry("rebuild", "slow", "--activation-limit=3s").want(4, "took longer than 3s, the activation limit", "undone: the guest runs ")
	vm.wentBack(guest, host)
}

// All connections to the guest die during the switch, and what it prints
// has nowhere to go; it ends as if nothing had been.
// NixOS/nixpkgs#39118, #463029
func TestSwitchSurvivesItsConnection(t *testing.T) {
	in, _ := newLive(t, "cutoff")
	in.write("cutoff.nix", liveModule("cutoff", "second", "lab.switchSleep = 4;"))
	run := in.begin("rebuild", "cutoff")
	run.says("activating the configuration")
	output(t, world.guest1, "pkill", "-x", "sshd-session")
	run.wait().want(0, "connecting again", "switched live")
	if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, "second") {
		t.Errorf("the page is %s", got)
	}
}

// A switch that keeps everybody out is undone by the guest alone: by one that
// ends sshd with its sessions, and by one that takes the network away.
// ferry does not wait for ever where nothing answers any more.
// serokell/deploy-rs#57
func TestBrokenLoginIsUndone(t *testing.T) {
	for what, cut := range map[string][2]string{
		"sshd":    {"systemctl --no-block start ssh.service", "systemctl stop ssh.service; pkill -x sshd-session || :"},
		"network": {"ip link set host0 up", "ip link set host0 down"},
	} {
		t.Run(what, func(t *testing.T) {
			first := `lab.activation = "` + cut[0] + `";`
			in, vm := newLive(t, "locksout", first)
			guest, host := liveContract(t, world.guest1), vm.contract()
			in.write("locksout.nix", liveModule("locksout", "second", `lab.activation = "`+cut[1]+`";`))
			in.ferry("rebuild", "locksout", "--confirm-timeout=3s").want(4, "undone: the guest runs ")
			vm.wentBack(guest, host)
			in.write("locksout.nix", liveModule("locksout", "third", first))
			in.deploy(result.OutcomeSwitched, "rebuild", "locksout")
		})
	}
}

// The operator is gone, and the unit that goes back is killed again and again:
// the guest goes back all the same. The next run is not blocked by that.
// NixOS/nixpkgs#398370
func TestGuestGoesBackByItself(t *testing.T) {
	in, vm := newLive(t, "alone")
	guest := liveContract(t, world.guest1)
	first := vm.link("current")
	in.write("alone.nix", liveModule("alone", "second"))
	run := in.begin("rebuild", "alone", "--confirm-timeout=2s", "--check-command=sleep 60")
	undecided := `for d in /run/ferry/*; do [ -s "$d/status" ] && [ ! -L "$d/decided" ] && exit 0; done; exit 1`
	eventually(t, "the end of the switch", 30*time.Second, func() bool {
		_, err := world.guest1.Output(t.Context(), "sh", "-c", undecided)
		return err == nil
	})
	run.signal("KILL")
	run.wait()
	for _, signal := range []string{"KILL", "TERM", "KILL"} {
		output(t, world.guest1, "systemctl", "kill", "--signal="+signal, "ferry-rollback-*")
		eventually(t, "the unit to be back", 10*time.Second, func() bool {
			return output(t, world.guest1, "systemctl", "list-units", "--plain", "--no-legend", "--state=active", "ferry-rollback-*") != ""
		})
	}
	if got := runningSystem(t, world.guest1); got == output(t, world.host1, "readlink", first+"/share/microvm/system") {
		t.Fatal("undone before its time: is this test still right?")
	}
	eventually(t, "the guest to go back", time.Minute, func() bool { return liveContract(t, world.guest1) == guest })
	if vm.link("current") != first {
		t.Error("`current` moved")
	}
	output(t, world.guest1, "sh", "-c", `systemd-run --quiet --unit=ferry-switch-left false
mkdir -p /run/ferry/left && echo false >/run/ferry/left/rollback && : >/run/nixos/switch-to-configuration.lock`)
	in.ferry("rebuild", "alone").want(0, "switched live")
}

// A run that finds another's switch neither confirmed nor undone waits for the
// guest, also where somebody stopped the unit that goes back.
// NixOS/nixpkgs#398370
func TestEarlierSwitchIsWaitedFor(t *testing.T) {
	in, vm := newLive(t, "waits")
	for _, stopped := range []bool{false, true} {
		in.write("waits.nix", liveModule("waits", "never"+map[bool]string{true: " more"}[stopped], "lab.switchSleep = 8;"))
		run := in.begin("rebuild", "waits", "--confirm-timeout=1s")
		run.says("activating the configuration")
		run.signal("KILL")
		run.wait()
		in.ferry("rebuild", "waits", "--dry-run").want(0, "is still under way in root@box")
		if stopped {
			output(t, world.guest1, "systemctl", "stop", "ferry-rollback-*")
		}
		in.ferry("rebuild", "waits").want(0, "is still under way in root@box", "nobody has confirmed", "was interrupted", "switched live")
		if vm.locked() {
			t.Error("the VM is still locked")
		}
		in.ferry("rebuild", "waits").want(0, "unchanged")
	}
}

// Where the previous system can't be switched to, the guest boots into it.
func TestUnswitchablePreviousIsBooted(t *testing.T) {
	in, vm := newLive(t, "boots", "lab.failingActivation = true;")
	first, host := runningSystem(t, world.guest1), vm.contract()
	in.write("boots.nix", liveModule("boots", "second", "lab.failingUnit = true;"))
	run := in.begin("rebuild", "boots")
	t.Cleanup(func() { _ = world.guest1.Start(context.Background()) })
	eventually(t, "the end of the guest", time.Minute, func() bool { return !world.guest1.Running() })
	if err := world.guest1.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	run.wait().want(4, "undone by a boot: the guest runs "+first)
	if got := runningSystem(t, world.guest1); got != first {
		t.Errorf("the guest runs %s", got)
	}
	vm.wantContract(host)
	if got := output(t, world.guest1, "sh", "-c", "ls /nix/var/nix/profiles"); strings.Contains(got, "system") {
		t.Errorf("the guest's profiles: %s", got)
	}
}

// Ctrl-C after the switch has begun has the guest undo it at once.
func TestInterruptedSwitchIsUndone(t *testing.T) {
	for _, when := range []string{"during the switch", "before the confirmation"} {
		t.Run(when, func(t *testing.T) {
			in, vm := newLive(t, "intlive")
			guest, host := liveContract(t, world.guest1), vm.contract()
			page, args, says := liveModule("intlive", "second"), []string{"--check-tcp=127.0.0.1:1"}, "not well yet"
			if when == "during the switch" {
				page, args, says = liveModule("intlive", "second", "lab.switchSleep = 600;"), nil, "activating the configuration"
			}
			in.write("intlive.nix", page)
			run := in.begin(append([]string{"rebuild", "intlive"}, args...)...)
			run.says(says)
			run.signal("INT")
			run.wait().want(130, "interrupted: telling root@box to undo", "intlive: interrupted", "undone: the guest runs ")
			vm.wentBack(guest, host)
			if vm.locked() {
				t.Error("the VM is still locked")
			}
			collectGarbage(t, world.host1)
			in.write("intlive.nix", liveModule("intlive", "third"))
			in.deploy(result.OutcomeSwitched, "rebuild", "intlive")
		})
	}
}
