//go:build lab

package e2e

import (
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// contract is all that a deployment may change of a VM on its host.
func (v vmOn) contract() string {
	v.t.Helper()
	return output(v.t, v.host, "sh", "-c", `
for p in "/var/lib/microvms/$1"/* "/nix/var/nix/profiles/ferry/$1"/* "/nix/var/nix/gcroots/ferry/$1"/* \
  "/nix/var/nix/gcroots/microvm/$1" "/nix/var/nix/gcroots/microvm/old-$1" "/nix/var/nix/gcroots/microvm/booted-$1"; do
  case $p in *.pid) continue;; esac
  if [ -L "$p" ]; then echo "$p -> $(readlink "$p")"; elif [ -f "$p" ]; then echo "$p: $(cat "$p")"; fi
done`, "sh", v.name)
}

// settledBy waits until no deployment of the VM is under way any more.
func (v vmOn) settledBy(within time.Duration) {
	v.t.Helper()
	eventually(v.t, "the end of the deployment of "+v.name, within, func() bool {
		return output(v.t, v.host, "sh", "-c", `[ -e "/var/lib/ferry/vms/$1/deployment.json" ] && echo unfinished || echo settled`, "sh", v.name) == "settled"
	})
}

func (v vmOn) wantContract(before string) {
	v.t.Helper()
	if after := v.contract(); after != before {
		v.t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// runs is a VM that has been deployed once, with a `flake` file.
func runs(t *testing.T, h *lab.Machine, name, address string) (*infra, vmOn, string) {
	t.Helper()
	in := newInfra(t, "", map[string]string{name: vmModule(name)})
	in.deploy(result.OutcomeStarted, "rebuild", name, address, "--update-flake=github:o/first")
	vm := onHost(t, h, name)
	return in, vm, vm.contract()
}

// What fails to start is undone, exactly and with exit code 4: links,
// generation, `flake`, roots; and what ran before runs again.
// serokell/deploy-rs#214, #68
func TestFailedRestartIsUndone(t *testing.T) {
	for _, h := range []struct {
		host    *lab.Machine
		address string
	}{{world.host1, "root@host1"}, {world.host2, "root@host2"}} {
		t.Run(h.host.Name, func(t *testing.T) {
			in, vm, before := runs(t, h.host, "undone", h.address)
			for what, line := range map[string]string{
				"microvm@undone.service": `microvm.preStart = "echo out of luck; exit 3";`,
				"microvm-tap-interfaces": `microvm.binScripts.tap-up = "echo out of luck >&2; exit 1";`,
			} {
				in.write("undone.nix", vmModule("undone", line))
				in.ferry("rebuild", "undone", h.address, "--update-flake=github:o/second").
					want(4, "out of luck", what, "undone: the previous runner is current", "runs again")
				vm.wantContract(before)
				if vm.property("ActiveState") != "active" || vm.link("booted") != vm.link("current") {
					t.Errorf("%s, booted %s", vm.property("ActiveState"), vm.link("booted"))
				}
				in.ferry("history", "undone", "--host="+h.address).want(0, "rolled-back")
			}
			in.write("undone.nix", vmModule("undone", `lab.note = "good";`))
			in.deploy(result.OutcomeRestarted, "rebuild", "undone", h.address)
		})
	}
}

func TestFailedRestartStaysWithNoRollback(t *testing.T) {
	in, vm, _ := runs(t, world.host1, "stays", toHost1)
	in.write("stays.nix", vmModule("stays", `microvm.preStart = "exit 3";`))
	in.ferry("rebuild", "stays", toHost1, "--no-rollback").want(1, "microvm@stays.service", "--no-rollback")
	if vm.link("old") == "" || vm.link("old") == vm.link("current") {
		t.Error("it was undone")
	}
	in.write("stays.nix", vmModule("stays"))
	in.ferry("rebuild", "stays", toHost1).want(0, "started")
}

// A check that the host makes decides, too.
func TestFailedCheckIsUndone(t *testing.T) {
	in, vm, before := runs(t, world.host1, "deaf", toHost1)
	in.write("deaf.nix", vmModule("deaf", `lab.note = "second";`))
	in.ferry("rebuild", "deaf", toHost1, "--check-tcp=127.0.0.1:9", "--confirm-timeout=3s").
		want(4, "127.0.0.1:9", "refused", "runs again")
	vm.wantContract(before)
	in.ferry("rebuild", "deaf", toHost1, "--check-tcp=127.0.0.1:22").want(0, "restarted")
}

// A guest that does not answer after its restart: the operator undoes it; where
// the operator is gone, the host does when the time is over. Meanwhile the VM is
// taken, and `list` says so.
func TestUnansweredRestartIsUndone(t *testing.T) {
	name := "silent"
	in := newInfra(t, "", map[string]string{name: liveModule(name, "first")})
	in.deploy(result.OutcomeStarted, "rebuild", name, toHost1, "--restart=always", "--confirm-timeout=90s")
	vm := onHost(t, world.host1, name)
	before := vm.contract()
	in.write(name+".nix", liveModule(name, "second"))
	args := []string{"rebuild", name, toHost1, "root@10.23.0.99", "--restart=always", "--confirm-timeout=3s"}
	in.ferry(args...).want(4, "10.23.0.99", "runs again")
	vm.wantContract(before)

	run := in.begin(args...)
	run.says("waiting for root@10.23.0.99")
	run.signal("KILL")
	run.wait()
	in.ferry("rebuild", name, toHost1, "--restart=always").want(5, "may be confirmed until")
	in.ferry("list", toHost1).want(0, "unconfirmed")
	vm.settledBy(time.Minute)
	vm.wantContract(before)
	in.ferry("history", name, "--host="+toHost1).want(0, "nobody has confirmed it")
	in.deploy(result.OutcomeRestarted, "rebuild", name, toHost1, "--restart=always")
}

// The connection is cut while the host restarts the VM: the host goes on, and
// ferry finds out how it ended.
func TestConnectionCutDuringRestart(t *testing.T) {
	in, vm, _ := runs(t, world.host1, "cut", toHost1)
	in.write("cut.nix", vmModule("cut", `microvm.preStart = "sleep 1";`))
	run := in.begin("rebuild", "cut", toHost1)
	run.says("restarting microvm@cut.service")
	cutConnections(t, world.host1)
	run.wait().want(0, "the connection to", "connecting again", "restarted")
	if vm.link("booted") != vm.link("current") {
		t.Error("the new runner does not run")
	}
	in.ferry("rebuild", "cut", toHost1).want(0, "unchanged")
}

// cutConnections ends all SSH connections to a machine.
func cutConnections(t *testing.T, m *lab.Machine) {
	t.Helper()
	output(t, m, "sh", "-c", `for p in $(pgrep -x 'sshd-session|sshd'); do
  case $(tr '\0' ' ' <"/proc/$p/cmdline") in *"[priv]"*|*"root@"*|*"deploy@"*) kill -9 "$p";; esac
done; :`)
}

// The host goes down while the new runner is not confirmed: at its next boot,
// before any VM starts, everything is as before.
func TestHostGoesDownBeforeConfirmation(t *testing.T) {
	name := "reboots"
	in := newInfra(t, "", map[string]string{name: liveModule(name, "first")})
	in.deploy(result.OutcomeStarted, "rebuild", name, "root@host2", "--restart=always")
	in.ferry("autostart", name, "on", "--host=root@host2").want(0)
	vm := onHost(t, world.host2, name)
	before := vm.contract()
	in.write(name+".nix", liveModule(name, "second"))
	run := in.begin("rebuild", name, "root@host2", "root@10.23.0.99", "--restart=always", "--confirm-timeout=60s")
	run.says("waiting for root@10.23.0.99")
	if vm.contract() == before {
		t.Fatal("nothing was installed yet: is this test still right?")
	}
	if err := world.host2.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := world.host2.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the VM starts with the host", time.Minute, func() bool { return vm.property("ActiveState") == "active" })
	vm.settledBy(20 * time.Second)
	vm.wantContract(before)
	if vm.link("booted") != vm.link("current") || !strings.Contains(vm.history(), `"interrupted"`) {
		t.Errorf("booted %s, history %s", vm.link("booted"), vm.history())
	}
	r := run.wait()
	if r.code != 4 && r.code != 1 {
		t.Errorf("%s", r)
	}
	in.deploy(result.OutcomeRestarted, "rebuild", name, "root@host2", "--restart=always")
	in.ferry("autostart", name, "off", "--host=root@host2").want(0)
}
