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

// impatient has the operator's ssh notice a lost machine within seconds instead
// of a minute: what a user sets counts.
func impatient(t *testing.T) {
	t.Helper()
	sshConfig(t, "Host host1 host2 box\n\tServerAliveInterval 1\n\tServerAliveCountMax 3\n\tConnectTimeout 3")
}

// cable is a machine's only network. Cut off, it takes and sends nothing, and
// nobody is told.
type cable struct {
	t *testing.T
	m *lab.Machine
}

func newCable(t *testing.T, m *lab.Machine) cable {
	t.Helper()
	c := cable{t, m}
	t.Cleanup(c.plug)
	return c
}

func (c cable) cut() { c.t.Helper(); output(c.t, c.m, "ip", "link", "set", "host0", "down") }

// plug returns when the operator reaches the machine again.
func (c cable) plug() {
	c.t.Helper()
	ctx, cancel := lab.WithPatience(context.WithoutCancel(c.t.Context()), 30*time.Second) // also once the test has ended
	defer cancel()
	_, err := c.m.Output(ctx, "ip", "link", "set", "host0", "up")
	for err == nil {
		if _, err := world.operator.Output(ctx, "timeout", "2", "bash", "-c", ": </dev/tcp/"+c.m.Addr+"/22"); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	c.t.Fatalf("%s is not back in the network: %v", c.m.Name, err)
}

// Before the lock is taken there is nothing to say but that the machine
// does not answer: one that takes connections and never speaks, and one that is
// not in the network at all.
// serokell/deploy-rs#57
func TestFrozenLoginEndsTheRun(t *testing.T) {
	impatient(t)
	in := newInfra(t, "", map[string]string{"silent": vmModule("silent")})
	t.Run("sshd", func(t *testing.T) {
		during(t, world.host1, "systemctl kill --kill-whom=main --signal=STOP ssh", "systemctl kill --kill-whom=main --signal=CONT ssh")
		ended := lab.Took()
		in.ferry("rebuild", "silent", toHost1).want(1, "ssh to root@host1: cannot be reached", "silent: nothing was changed")
		if took := ended(); took > 40*time.Second {
			t.Errorf("after %s", took)
		}
	})
	t.Run("network", func(t *testing.T) {
		newCable(t, world.host1).cut()
		ended := lab.Took()
		in.ferry("rebuild", "silent", toHost1).want(1, "ssh to root@host1: cannot be reached", "silent: nothing was changed")
		if took := ended(); took > 40*time.Second {
			t.Errorf("after %s", took)
		}
	})
}

// The network goes away while derivations are copied.
// serokell/deploy-rs#57
func TestFrozenCopyEndsTheRun(t *testing.T) {
	impatient(t)
	// The host's end of the copy says that it is there, and takes its time.
	during(t, world.host1, `printf '#!/bin/sh\ntouch /run/copying; sleep 6; exec /usr/bin/nix-daemon "$@"\n' >/usr/local/bin/nix-daemon && chmod +x /usr/local/bin/nix-daemon`,
		"rm -f /usr/local/bin/nix-daemon /run/copying")
	in := newInfra(t, "", map[string]string{"icecopy": vmModule("icecopy", `lab.note = "`+time.Now().String()+`";`)})
	vm := onHost(t, world.host1, "icecopy")
	run := in.begin("rebuild", "icecopy", toHost1)
	eventually(t, "the copy", time.Minute, func() bool {
		return output(t, world.host1, "sh", "-c", "ls /run/copying 2>/dev/null || :") != ""
	})
	c := newCable(t, world.host1)
	c.cut()
	run.wait().want(1, "root@host1", "icecopy: nothing was changed")
	c.plug()
	output(t, world.host1, "rm", "/usr/local/bin/nix-daemon")
	vm.free()
	vm.noDirectory()
	in.deploy(result.OutcomeStarted, "rebuild", "icecopy", toHost1)
}

// free waits until nobody holds the VM's lock.
func (v vmOn) free() {
	v.t.Helper()
	eventually(v.t, "the lock of "+v.name, 90*time.Second, func() bool { return !v.locked() })
}

// The network goes away during the build.
// serokell/deploy-rs#57
func TestFrozenBuildEndsTheRun(t *testing.T) {
	impatient(t)
	in, vm := lives(t, "icebuild")
	g := newGate(t, world.host1, "icebuild")
	before := state(t)
	in.write("icebuild.nix", vmModule("icebuild", g.line()))
	run := in.begin("rebuild", "icebuild", toHost1)
	g.reached()
	c := newCable(t, world.host1)
	c.cut()
	run.wait().want(1, "icebuild: the connection to root@host1 was lost", "icebuild: nothing was changed")
	c.plug()
	vm.free()
	for m, after := range state(t) {
		if after != before[m] {
			t.Errorf("%s was changed:\n%s", m, difference(before[m], after))
		}
	}
	g.open()
	in.deploy(result.OutcomeRestarted, "rebuild", "icebuild", toHost1)
}

// The host's end of the connection is killed during the build.
func TestConnectionKilledDuringBuild(t *testing.T) {
	in, vm := lives(t, "cutbuild")
	in.write("cutbuild.nix", vmModule("cutbuild", slowBuild("cutbuild")))
	before := state(t)
	run := in.begin("rebuild", "cutbuild", toHost1)
	run.building(world.host1, "cutbuild")
	output(t, world.host1, "sh", "-c", `kill -9 $(pgrep '^sshd-session$')`)
	run.wait().want(1, "cutbuild: the connection to root@host1 was lost", "cutbuild: nothing was changed")
	vm.untouched(before)
	in.write("cutbuild.nix", vmModule("cutbuild", `lab.note = "after";`))
	in.deploy(result.OutcomeRestarted, "rebuild", "cutbuild", toHost1)
}

// The network of the guest, then that of its host, goes away during a
// live switch and comes back. The switch goes on meanwhile, and is confirmed.
// serokell/deploy-rs#57
func TestFrozenLiveSwitchGoesOn(t *testing.T) {
	impatient(t)
	in, vm := newLive(t, "icelive")
	for _, m := range []*lab.Machine{world.guest1, world.host1} {
		in.write("icelive.nix", liveModule("icelive", "on "+m.Name, "lab.switchSleep = 5;"))
		run := in.begin("rebuild", "icelive")
		run.says("activating the configuration")
		c := newCable(t, m)
		c.cut()
		run.says("connecting again") // so it knows before the network is back
		c.plug()
		run.wait().want(0, "was lost", "icelive: switched live")
		if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, "on "+m.Name) {
			t.Errorf("the page is %s", got)
		}
		if runningSystem(t, world.guest1) != output(t, world.host1, "readlink", vm.link("current")+"/share/microvm/system") {
			t.Error("`current` is not what runs")
		}
		vm.free()
	}
}

// The network goes away while the host installs and restarts the VM.
// serokell/deploy-rs#57
func TestFrozenRestartGoesOn(t *testing.T) {
	impatient(t)
	in, vm := lives(t, "icestart")
	in.write("icestart.nix", vmModule("icestart", `microvm.preStart = "sleep 4";`))
	run := in.begin("rebuild", "icestart", toHost1)
	run.says("restarting microvm@icestart.service")
	c := newCable(t, world.host1)
	c.cut()
	run.says("connecting again")
	c.plug()
	run.wait().want(0, "the connection to root@host1 was lost", "icestart: restarted")
	if vm.link("booted") != vm.link("current") {
		t.Error("the new runner does not run")
	}
	in.ferry("rebuild", "icestart", toHost1).want(0, "unchanged")
}

// Waiting for a VM that was restarted has an end, whether its address is
// nobody's, or takes connections and says nothing.
// nix-community/colmena#166, #303, #315
func TestRebootHasADeadline(t *testing.T) {
	impatient(t)
	in := newInfra(t, "", map[string]string{"noboot": liveModule("noboot", "first")})
	in.deploy(result.OutcomeStarted, "rebuild", "noboot", toHost1, "--restart=always")
	vm := onHost(t, world.host1, "noboot")
	first := vm.link("current")
	in.write("noboot.nix", liveModule("noboot", "second"))
	during(t, world.guest1, "systemctl kill --kill-whom=main --signal=STOP ssh", "systemctl kill --kill-whom=main --signal=CONT ssh")
	for _, target := range []string{"root@10.23.0.99", "root@box"} {
		began, ended := time.Now(), lab.Took()
		in.ferry("rebuild", "noboot", toHost1, target, "--restart=always", "--confirm-timeout=6").want(4, "waiting for "+target+" to boot", "after the restart: ")
		if took := ended(); time.Since(began) < 6*time.Second || took > 45*time.Second {
			t.Errorf("%s: it ended after %s", target, took)
		}
		if vm.link("current") != first || vm.link("booted") != first {
			t.Errorf("%s: current %s, booted %s, wanted %s", target, vm.link("current"), vm.link("booted"), first)
		}
	}
}
