//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// Hosts that are no hosts yet, or belong to somebody else. The VM is new, so
// nothing of it may be there afterwards.
func TestBadHosts(t *testing.T) {
	in := newInfra(t, "", map[string]string{"badhost": vmModule("badhost")})
	for _, c := range []struct {
		name, do, undo string
		badInput
	}{
		{"no Nix", "mv /usr/bin/nix /usr/bin/nix.off", "mv /usr/bin/nix.off /usr/bin/nix",
			badInput{args: "rebuild badhost root@host2", wants: []string{"nix was not found", hint + "install Nix there"}}},
		{"no units", "mv /etc/systemd/system/microvm@.service /root/ && systemctl daemon-reload",
			"mv /root/microvm@.service /etc/systemd/system/ && systemctl daemon-reload",
			badInput{args: "rebuild badhost root@host2", wants: []string{"no microvm@.service", hint + "import microvm.nixosModules.host"}}},
		{"no login for root", "mv /root/.ssh/authorized_keys /root/.ssh/off", "mv /root/.ssh/off /root/.ssh/authorized_keys",
			badInput{args: "rebuild badhost root@host2", wants: []string{"login refused", hint + "try `ssh root@host2`"}}},
		{"declared by a toplevel link", "mkdir /var/lib/microvms/badhost && ln -s /nix/store /var/lib/microvms/badhost/toplevel", "rm -rf /var/lib/microvms/badhost",
			badInput{args: "rebuild badhost root@host2", wants: []string{"declared by the host's own NixOS configuration", "toplevel", hint + "deploy the host instead"}}},
		{"declared by a unit", "printf '[Service]\\nType=oneshot\\nExecStart=/bin/true\\n' >/etc/systemd/system/install-microvm-badhost.service && systemctl daemon-reload",
			"rm /etc/systemd/system/install-microvm-badhost.service && systemctl daemon-reload",
			badInput{args: "rebuild badhost root@host2", wants: []string{"declared by the host's own NixOS configuration", "install-microvm-badhost.service", hint}}},
		{"old- beside it", "mkdir /var/lib/microvms/old-badhost", "rmdir /var/lib/microvms/old-badhost",
			badInput{args: "rebuild badhost root@host2", wants: []string{"badhost collides with old-badhost", hint + "give one of them another name"}}},
		{"booted- beside it", "mkdir /var/lib/microvms/booted-badhost", "rmdir /var/lib/microvms/booted-badhost",
			badInput{args: "rebuild badhost root@host2", wants: []string{"badhost collides with booted-badhost", hint}}},
		{"a link that is no store path", "mkdir /var/lib/microvms/badhost && ln -s /etc /var/lib/microvms/badhost/current", "rm -rf /var/lib/microvms/badhost",
			badInput{args: "rebuild badhost root@host2", wants: []string{"which is not a store path", hint}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			during(t, world.host2, c.do, c.undo)
			c.badInput.name, c.code = "refused", 1
			c.wants = append(c.wants, "badhost: nothing was changed")
			here := *in
			here.t = t
			here.refuses([]badInput{c.badInput})
			if strings.HasPrefix(c.name, "no ") {
				onHost(t, world.host2, "badhost").noDirectory()
			}
		})
	}
}

// microvm.nix's own unit for a VM with an updateFlake installs it only once.
func TestUnitThatInstallsOnceIsAccepted(t *testing.T) {
	in := newInfra(t, "", map[string]string{"onceonly": vmModule("onceonly")})
	during(t, world.host1, `printf '[Unit]\nConditionPathExists=!/var/lib/microvms/onceonly\n[Service]\nType=oneshot\nExecStart=/bin/true\n' >/etc/systemd/system/install-microvm-onceonly.service && systemctl daemon-reload`,
		"rm /etc/systemd/system/install-microvm-onceonly.service && systemctl daemon-reload")
	in.deploy(result.OutcomeStarted, "rebuild", "onceonly", toHost1)
}

// A name too near to another's, and a configuration named otherwise than its
// host, where microvm.nix's script would have taken the host's name.
func TestMisnamed(t *testing.T) {
	in := newInfra(t, "", map[string]string{
		"named": vmModule("named"), "old-named": vmModule("old-named"), "alias": vmModule("named", `lab.note = "alias";`),
	})
	in.deploy(result.OutcomeStarted, "rebuild", "named", toHost1)
	in.refuses([]badInput{
		{"old- of another VM", "rebuild old-named root@host1", 1, []string{"old-named collides with named", hint}},
		{"host name of another VM", "rebuild alias root@host1", 1, []string{"alias has the host name named", hint, "--name named", "nothing was changed"}},
	})
	in.deploy(result.OutcomeRestarted, "rebuild", "alias", toHost1, "--name", "named")
	onHost(t, world.host1, "alias").noDirectory()
}

func TestNoNixOnTheOperator(t *testing.T) {
	in := newInfra(t, "", map[string]string{"nonix": vmModule("nonix")})
	during(t, world.operator, "mkdir /run/nonix && ln -s /usr/bin/ssh /usr/bin/git /usr/bin/env /bin/sh /run/nonix/", "rm -r /run/nonix")
	unchanged(t, func() {
		in.ferryWith(lab.Cmd{Env: []string{"PATH=/run/nonix:/usr/local/bin"}}, "rebuild", "nonix", toHost1).
			want(1, "nix was not found", hint+"install Nix here")
	})
}

// The oldest Nix that works is stated; Debian 12's 2.8 is too old, on both sides.
func TestOldNix(t *testing.T) {
	in := newInfra(t, "", map[string]string{"oldnix": vmModule("oldnix")})
	for _, m := range []*lab.Machine{world.operator, world.host1} {
		t.Run(m.Name, func(t *testing.T) {
			_, restore, err := m.UseNix(t.Context(), lab.OldNix)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := restore(); err != nil {
					t.Error(err)
				}
			}()
			here := *in
			here.t = t
			unchanged(t, func() {
				here.ferry("rebuild", "oldnix", toHost1).want(1, "has Nix 2.8, ferry needs 2.26 or newer", hint+"upgrade Nix there", "nothing was changed")
			})
			onHost(t, world.host1, "oldnix").noDirectory()
		})
	}
}

// A key that is not the known one.
// nix-community/nixos-cli#121
func TestChangedHostKeyIsRefused(t *testing.T) {
	in := newInfra(t, "", map[string]string{"changed": vmModule("changed")})
	during(t, world.operator, `cp ~/.ssh/known_hosts ~/.ssh/kept
sed -n 's/^host2,[^ ]*/unknown-host1/p' ~/.ssh/kept >>~/.ssh/known_hosts`, "mv ~/.ssh/kept ~/.ssh/known_hosts")
	unchanged(t, func() {
		in.ferry("rebuild", "changed", "root@unknown-host1").
			want(1, "its host key is not the known one", hint+"find out why", "nothing was changed")
	})
}

// A guest that is not there is found before `current` moves, and one
// that does not see the host's store before anything is shipped.
func TestBadGuestsAreFoundBeforeAnythingMoves(t *testing.T) {
	in, vm := newLive(t, "guestless")
	in.write("guestless.nix", liveModule("guestless", "second"))
	if err := world.guest1.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := world.guest1.Start(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	first := vm.link("current")
	in.refuses([]badInput{{"stopped guest", "rebuild guestless --confirm-timeout=1", 1, []string{"the guest at root@box can't be reached", "--restart=always", "nothing was changed"}}})
	if vm.link("current") != first {
		t.Error("`current` moved")
	}
}

func TestTargetWithoutTheStore(t *testing.T) {
	in := newInfra(t, "", map[string]string{"host2": liveModule("host2", "first")})
	in.ferry("install", "host2", toHost1).want(0)
	onHost(t, world.host1, "host2").systemctl("start")
	// Its file is there once it runs: what changes from here on is ferry's.
	output(t, world.host1, "timeout", "60", "sh", "-c", "until [ -s /var/lib/microvms/host2/host2.pid ]; do sleep 0.1; done")
	in.write("host2.nix", liveModule("host2", "second"))
	in.refuses([]badInput{{"rebuild", "rebuild host2 root@host1 root@host2", 1, []string{"does not see the host's /nix/store", hint, "--restart=always", "nothing was changed"}}})
	in.ferry("install", "host2", toHost1).want(0)
	in.refuses([]badInput{
		{"switch", "switch host2 root@host2 --host root@host1", 1, []string{"does not see the host's /nix/store", hint}},
		{"switch without a host", "switch host2 root@host2", 1, []string{"does not see the host's /nix/store", hint}},
	})
	onHost(t, world.host1, "host2").systemctl("stop")
}
