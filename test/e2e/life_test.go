//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"path"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/lab"
)

// host1Flag names the host of a flake that doesn't.
const host1Flag = "--host=" + toHost1

// lives is a VM of a process, running on host1 as generation 1.
func lives(t *testing.T, name string, lines ...string) (*infra, vmOn) {
	t.Helper()
	in := newInfra(t, "", map[string]string{name: vmModule(name, lines...)})
	in.ferry("rebuild", name, toHost1).want(0, "started")
	return in, onHost(t, world.host1, name)
}

func TestStartStopRestart(t *testing.T) {
	in, vm := lives(t, "walk", `lab.shutdownSleep = 12;`)
	invocation := vm.invocation()
	in.ferry("start", "walk", host1Flag).want(0, "unchanged", "it is already running")
	in.ferry("restart", "walk", host1Flag).want(0, "walk: restarted on root@host1")
	if vm.invocation() == invocation || vm.property("ActiveState") != "active" {
		t.Error("it was not restarted")
	}
	// The stop waits for the guest, says so, and for the helper services.
	in.ferry("stop", "walk", host1Flag).want(0, "walk: stopped on root@host1", "still shutting down (10s)").without("killed")
	if got := output(t, world.host1, "sh", "-c", "systemctl list-units --all --plain --no-legend 'microvm*@walk.service' | grep -v ' inactive ' || :"); got != "" {
		t.Errorf("after the stop there are still %s", got)
	}
	if vm.link("booted") != "" {
		t.Error("`booted` is left")
	}
	in.ferry("stop", "walk", host1Flag).want(0, "unchanged", "it is already stopped")
	in.ferry("rebuild", "walk", toHost1).want(0, "unchanged", "the VM stays stopped")
	var life struct {
		Host string `json:"host"`
		hostapi.Life
	}
	r := in.ferry("restart", "walk", host1Flag, "--json").want(0)
	if err := json.Unmarshal([]byte(r.stdout), &life); err != nil {
		t.Fatalf("%v in %s", err, r)
	}
	if life.Outcome != hostapi.OutcomeStarted || life.Host != toHost1 || string(life.Booted) != vm.link("current") {
		t.Errorf("%+v", life)
	}
	in.ferry("history", "walk", host1Flag).want(0, "restart", "stop", "stopped", "root@operator")
}

// Ctrl-C ends the waiting for a stop, and not the stop; sudo will do on the host.
func TestInterruptedStop(t *testing.T) {
	in, vm := lives(t, "linger", `lab.shutdownSleep = 5;`)
	in.ferry("start", "linger", "--host=deploy@host1").want(1, "hint: ")
	stop := in.begin("stop", "linger", "--host=deploy@host1", "--host-sudo")
	eventually(t, "the stop begins", 30*time.Second, func() bool { return vm.property("ActiveState") == "deactivating" })
	stop.signal("INT")
	stop.wait().want(130)
	if got := vm.property("ActiveState"); got != "deactivating" {
		t.Errorf("the unit is %s: ferry waited for the stop", got)
	}
	eventually(t, "the VM stops", 30*time.Second, func() bool { return vm.property("ActiveState") == "inactive" })
	in.ferry("start", "linger", "--host=deploy@host1", "--host-sudo").want(0, "started")
}

// A helper service that fails is named, and its log shown; a deployment's lock
// is respected.
func TestRestartThatFails(t *testing.T) {
	in, vm := lives(t, "limp")
	in.write("limp.nix", vmModule("limp", `microvm.binScripts.tap-up = "echo no bridge here >&2; exit 1";`))
	in.ferry("install", "limp", toHost1).want(0)
	in.ferry("restart", "limp", host1Flag).want(1, "microvm-tap-interfaces@limp.service", "no bridge here", "journalctl -u")
	in.ferry("rollback", "limp", host1Flag).want(0, "rolled back", "generation 1")
	if vm.property("ActiveState") != "active" || vm.link("booted") != vm.link("current") {
		t.Errorf("after the rollback: %s, booted %s, current %s", vm.property("ActiveState"), vm.link("booted"), vm.link("current"))
	}
	before := vm.invocation()
	locked(t, world.host1, "limp", func() {
		for _, verb := range []string{"start", "stop", "restart", "rollback --to=2", "remove --yes"} {
			in.ferry(append(strings.Fields(verb), "limp", host1Flag)...).want(5, "limp is locked")
		}
	})
	if vm.invocation() != before {
		t.Error("the locked VM was restarted")
	}
}

// locked runs f while somebody else has a VM's lock.
func locked(t *testing.T, h *lab.Machine, name string, f func()) {
	t.Helper()
	ctx, release := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var out said
	go func() {
		defer close(ended)
		_ = h.Run(ctx, lab.Cmd{Args: []string{"flock", "-x", "/var/lib/ferry/locks/" + name, "sh", "-c", "echo held; exec sleep 600"}, Stdout: &out})
	}()
	eventually(t, "the lock is taken", 10*time.Second, func() bool { return out.has("held") })
	f()
	release()
	<-ended
}

// A restart brings what is installed, and forgets the live switch.
func TestRestartAfterLiveSwitch(t *testing.T) {
	in, vm := newLive(t, "again")
	in.write("again.nix", liveModule("again", "second"))
	in.ferry("rebuild", "again").want(0, "switched live")
	if vm.root("ferry/again/running") == "" {
		t.Fatal("what the guest runs is not rooted")
	}
	in.ferry("restart", "again").want(0, "restarted on host1")
	if vm.link("booted") != vm.link("current") || vm.root("ferry/again/running") != "" {
		t.Errorf("booted %s, current %s, running root %q", vm.link("booted"), vm.link("current"), vm.root("ferry/again/running"))
	}
}

// A rollback switches live, keeps the generations' numbers, goes one back each
// time, and works with the flake gone.
func TestRollbackLive(t *testing.T) {
	in, vm := newLive(t, "back")
	first, firstRunner := runningSystem(t, world.guest1), vm.link("current")
	invocation := vm.invocation()
	in.write("back.nix", liveModule("back", "second"))
	second := in.deployed("rebuild", "back")
	in.write("back.nix", strings.Replace(liveModule("back", "third"), "mem = 256", "mem = 384", 1))
	third := in.deployed("rebuild", "back")
	runs := func(want, runner string, generation int) {
		t.Helper()
		if got := runningSystem(t, world.guest1); got != want {
			t.Errorf("the guest runs %s, wanted %s", got, want)
		}
		if vm.link("current") != runner || vm.invocation() != invocation || vm.profile() != generation {
			t.Errorf("current %s, generation %d", vm.link("current"), vm.profile())
		}
		if got := vm.root("ferry/back/running"); got != want {
			t.Errorf("the root of what runs is %q", got)
		}
	}
	unchanged(t, func() { in.ferry("rollback", "back", "--dry-run").want(0, "would install, switch live in root@box") })
	res := in.ferry("rollback", "back", "--json").want(0).result()
	if !res.Rollback || res.Generation != 2 || res.Outcome != "switched" || len(res.Waits) != 0 {
		t.Errorf("%+v", res)
	}
	runs(second.system, second.runner, 2)
	if vm.link("old") != third.runner {
		t.Errorf("old is %s", vm.link("old"))
	}

	// The flake is gone: host and target by address. What the last deployment has
	// recorded on the host is only shown.
	in.op("mv", in.dir, in.dir+".gone")
	in.op("mkdir", "-p", in.dir)
	in.ferry("rollback", "back").want(2, "the host of back is not known", "--host")
	in.ferry("rollback", "back", host1Flag).want(2, "root@host1 has recorded root@box", "--target root@box")
	in.ferry("ssh", "back", host1Flag, "true").want(2, "root@host1 has recorded root@box", "--target root@box")
	const target = "--target=root@box"
	in.ferry("rollback", "back", host1Flag, target).want(0, "rolled back; switched live", "generation 1")
	runs(first, firstRunner, 1)
	in.ferry("rollback", "back", host1Flag).want(1, "no generation before 1", "1, 2, 3")
	in.ferry("rollback", "back", host1Flag, "--to", "9").want(1, "no generation 9")
	in.ferry("ssh", "back", host1Flag, target, "readlink", "/run/current-system").want(0, first)
	in.ferry("ssh", "back", host1Flag, target, "--through-host", "exit 7").want(7).without("error:")
	// systemd counts how often a service starts in ten seconds, this test's switches too.
	output(t, world.guest1, "systemctl", "reset-failed", "page.service")
	in.ferry("rollback", "back", host1Flag, target, "--to", "3").want(0, "switched live", "memory 256 → 384 MiB waits for a restart", "ferry restart back applies it")
	runs(third.system, third.runner, 3)
	in.ferry("rollback", "back", host1Flag, target, "--to=3").want(0, "unchanged")
	in.ferry("generations", "back", host1Flag).want(0, "current, running", "booted")
	in.ferry("diff", "back", host1Flag).want(0, "generation 2 → 3", "memory 256 → 384 MiB")
	in.ferry("diff", "back", host1Flag, "1", "2").want(0, "generation 1 → 2").without("memory")
	in.ferry("diff", "back", host1Flag, "3", "3").want(0, "nothing differs")
	in.ferry("history", "back", host1Flag, "-n", "2").want(0, "rollback to 3", "rollback to 1").without("rollback to 2")
	in.op("rm", "-rf", in.dir)
	in.op("mv", in.dir+".gone", in.dir)
	// A rebuild of what an earlier generation holds makes none: it goes there.
	in.ferry("rebuild", "back").want(0, "unchanged")
}

// Where the system inside does not answer, a rollback restarts the VM: that may
// be why one goes back.
func TestRollbackOfUnreachableGuest(t *testing.T) {
	in, vm := newLive(t, "mute")
	first := runningSystem(t, world.guest1)
	in.write("mute.nix", liveModule("mute", "second"))
	in.deployed("rebuild", "mute")
	invocation := vm.invocation()
	if err := world.guest1.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.ferry("rollback", "mute", "--restart=never").want(1, "does not answer", "nothing was changed")
	r := in.begin("rollback", "mute")
	eventually(t, "the unit is restarted", time.Minute, func() bool { return vm.invocation() != invocation && vm.property("ActiveState") == "active" })
	vm.boot(world.guest1) // what the unit of a real VM has just done
	r.wait().want(0, "rolled back; restarted", "its system does not answer")
	if got := runningSystem(t, world.guest1); got != first {
		t.Errorf("the guest runs %s, wanted %s", got, first)
	}
}

// A live rollback that fails is undone, as every live switch.
func TestRollbackThatFails(t *testing.T) {
	in, vm := newLive(t, "stuck", "lab.failingActivation = true;")
	in.write("stuck.nix", liveModule("stuck", "second"))
	second := in.deployed("rebuild", "stuck")
	in.ferry("rollback", "stuck").want(4, "exit status 2", "undone: the guest runs", "ferry rollback stuck --to 1")
	if vm.link("current") != second.runner || vm.profile() != 2 {
		t.Errorf("current %s, generation %d", vm.link("current"), vm.profile())
	}
	collectGarbage(t, world.host1)
	valid(t, world.host1, vm.link("current"))
	valid(t, world.host1, runningSystem(t, world.guest1))
	in.ferry("rebuild", "stuck").want(0)
	if got := runningSystem(t, world.guest1); got != second.system {
		t.Errorf("the guest runs %s", got)
	}
}

// Nothing of a removed VM is left, on the host's disk or in its systemd.
// microvm-nix/microvm.nix#67, #181, #302, #508
func TestRemoveLeavesNothing(t *testing.T) {
	in, vm := lives(t, "gone", `microvm.volumes = [ { image = "data.img"; mountPoint = "/data"; size = 16; } ];`)
	in.ferry("remove", "gone", host1Flag, "--yes").want(0, "gone: removed from root@host1")
	files := `cd / && find /var/lib/microvms /var/lib/ferry /nix/var/nix/gcroots /nix/var/nix/profiles /etc/systemd -printf '%p %y %m %u %g %l\n' | sort
systemctl list-units --all --plain --no-legend 'microvm*@gone.service'`
	before := output(t, world.host1, "sh", "-c", files)
	if strings.Contains(before, "gone") {
		t.Fatalf("left by the first removal:\n%s", before)
	}
	in.ferry("rebuild", "gone", toHost1).want(0, "started")
	output(t, world.host1, "systemctl", "enable", "microvm@gone.service")
	in.write("gone.nix", vmModule("gone", `lab.note = "2";`))
	in.ferry("rebuild", "gone", toHost1).want(0)

	// Data is not deleted without asking, nor anything else.
	invocation := vm.invocation()
	unchanged(t, func() {
		in.ferry("remove", "gone", host1Flag).want(2, "no terminal to ask at", "--keep-data")
		in.ferryWith(lab.Cmd{TTY: true, Stdin: strings.NewReader("no\n")}, "remove", "gone", host1Flag).want(1, "data.img", "nothing was changed")
	})
	if vm.invocation() != invocation {
		t.Fatal("the VM was stopped")
	}
	in.ferryWith(lab.Cmd{TTY: true, Stdin: strings.NewReader("gone\n")}, "remove", "gone", host1Flag).want(0, "data.img", "gone: removed")
	if after := output(t, world.host1, "sh", "-c", files); after != before {
		t.Errorf("the host differs:\n%s", difference(before, after))
	}
	in.ferry("remove", "gone", host1Flag, "--yes").want(1, "there is no VM gone on this host")
	output(t, world.host1, "sh", "-c", "! pgrep -f [p]rocess-vm.*-name.gone")
}

func TestRemoveKeepsData(t *testing.T) {
	in, vm := lives(t, "heir", `microvm.volumes = [ { image = "data.img"; mountPoint = "/data"; size = 16; } ];`)
	in.ferry("remove", "heir", host1Flag, "--keep-data").want(0, "its data is still in "+vm.dir())
	if got := output(t, world.host1, "ls", vm.dir()); got != "data.img" {
		t.Errorf("left: %q", got)
	}
	in.ferry("rebuild", "heir", toHost1).want(0, "started")
}

// A VM that the host itself declares is not removed; it may be restarted.
func TestLifeOfDeclaredVM(t *testing.T) {
	in, vm := lives(t, "owned")
	output(t, world.host1, "ln", "-s", vm.link("current"), path.Join(vm.dir(), "toplevel"))
	unchanged(t, func() {
		in.ferry("remove", "owned", host1Flag, "--yes").want(1, "declared by the host's own")
		in.ferry("rollback", "owned", host1Flag).want(1, "declared by the host's own")
	})
	in.ferry("restart", "owned", host1Flag).want(0, "restarted")
}

func TestLogs(t *testing.T) {
	in, _ := lives(t, "chatty", `microvm.preStart = "printf 'one\\ntw\\033[31mo\\n'";`)
	in.ferry("logs", "chatty", host1Flag).want(0, "one", "set-booted: ").without("\x1b")
	if r := in.ferry("logs", "chatty", host1Flag, "-n1", "--json").want(0, `"line":`); strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("more than a line: %s", r)
	}
	follow := in.begin("logs", "chatty", host1Flag, "-f", "-n", "1")
	output(t, world.host1, "sh", "-c", "echo later | systemd-cat -t x true; systemctl restart microvm@chatty")
	eventually(t, "the log goes on", 30*time.Second, func() bool { return follow.out.has("one") })
	follow.signal("INT")
	follow.wait().want(130)
	eventually(t, "journalctl has ended on the host", 10*time.Second, func() bool {
		return output(t, world.host1, "sh", "-c", "pgrep -fc '[j]ournalctl.*chatty' || :") == "0"
	})
}

// Bad input has one clear line, an exit code, and changes nothing.
func TestLifeBadInput(t *testing.T) {
	in, _ := lives(t, "fine")
	unchanged(t, func() {
		for _, c := range []struct {
			args string
			code int
			want string
		}{
			{"start", 2, "start needs the name of a VM"},
			{"start a/b --host=x", 2, "a/b"},
			{"start fine more", 2, "too many arguments"},
			{"stop fine", 2, "the host of fine is not known"},
			{"stop nope --host=root@host1", 1, "there is no VM nope on this host"},
			{"restart nope --host=root@host1", 1, "fine"},
			{"stop fine --host=-oProxyCommand=x", 2, "host"},
			{"stop fine --host=root@no-such-host", 1, "no-such-host"},
			{"stop fine --host=nosudo@host1", 1, "root"},
			{"logs fine -n 0 --host=root@host1", 2, "-n takes a number"},
			{"history fine -n x --host=root@host1", 2, "invalid argument"},
			{"rollback fine --to 0 --host=root@host1", 2, "0 is not a generation"},
			{"rollback fine --target=local --host=root@host1", 2, "never `local`"},
			{"rollback fine --restart=maybe --host=root@host1", 2, "unknown --restart"},
			{"rollback fine --host=root@host1", 1, "no generation before 1"},
			{"rollback nope --host=root@host1", 1, "there is no VM nope"},
			{"diff fine x --host=root@host1", 2, "is not a generation"},
			{"diff fine 1 2 3 --host=root@host1", 2, "too many arguments"},
			{"diff fine 7 --host=root@host1", 1, "fine has no generation 7"},
			{"generations nope --host=root@host1", 1, "there is no VM nope"},
			{"remove fine --yes --keep-data --host=root@host1", 2, "one or the other"},
			{"remove nope --yes --host=root@host1", 1, "there is no VM nope"},
			{"ssh fine --vsock --through-host", 2, "--vsock goes with neither"},
			{"ssh fine --host=root@host1", 2, "the address of the system inside fine is not known"},
		} {
			in.ferry(strings.Fields(c.args)...).want(c.code, "error: ", c.want)
		}
	})
}

// deployed is what a live deployment left.
type deployed struct{ runner, system string }

func (in *infra) deployed(args ...string) deployed {
	in.t.Helper()
	res := in.deploy("switched", args...)
	return deployed{string(res.Runner), string(res.System)}
}

// profile is the VM's generation as its Nix profile says.
func (v vmOn) profile() int {
	v.t.Helper()
	link := output(v.t, v.host, "readlink", "/nix/var/nix/profiles/ferry/"+v.name+"/runner")
	n := 0
	for _, c := range strings.TrimSuffix(strings.TrimPrefix(link, "runner-"), "-link") {
		n = 10*n + int(c-'0')
	}
	return n
}
