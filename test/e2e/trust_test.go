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

// Another user of the host is there first, with a helper of their own at the
// very path. Root runs only what root has put there.
func TestHelperOfAnotherUser(t *testing.T) {
	in := newInfra(t, "", map[string]string{"helper": vmModule("helper")})
	sum, _, _ := strings.Cut(output(t, world.host2, "sha256sum", "/usr/local/bin/ferry-helper"), " ")
	dir := "/var/lib/ferry/bin/" + sum
	const theirs = `printf '#!/bin/sh\necho "$(id -u)" >>/var/tmp/helper-ran\n' >/var/tmp/theirs; chmod 755 /var/tmp/theirs; rm -f /var/tmp/helper-ran
`
	whole := theirs + "mkdir -p " + dir + " && cp /var/tmp/theirs " + dir + "/ferry && chown -R nosudo /var/lib/ferry"
	rootDirs := theirs + "umask 077; mkdir -p " + dir + "; cp /var/tmp/theirs " + dir + "/ferry; "
	const refused = "is not a directory that only root can write"
	for _, c := range []struct {
		name, script string
		says         string // empty: the right helper takes its place
	}{
		{"all is theirs", whole, refused},
		{"a link to theirs", whole + "; mv /var/lib/ferry /home/nosudo/ferry; ln -s /home/nosudo/ferry /var/lib/ferry", refused},
		{"a directory that all may write", rootDirs + "chmod 777 /var/lib/ferry", refused},
		{"bin is theirs", rootDirs + "chown nosudo /var/lib/ferry/bin", refused},
		{"bin is a link", rootDirs + "mv /var/lib/ferry/bin /home/nosudo/bin; ln -s /home/nosudo/bin /var/lib/ferry/bin", refused},
		{"its directory is theirs", rootDirs + "chown nosudo " + dir, ""},
		{"its directory is a link", rootDirs + "mv " + dir + " /home/nosudo/v; ln -s /home/nosudo/v " + dir, ""},
		{"the file is theirs", rootDirs + "chown nosudo " + dir + "/ferry", ""},
		{"others may write the file", rootDirs + "chmod 777 " + dir + "/ferry", ""},
		{"the file is a link", rootDirs + "rm " + dir + "/ferry; ln -s /var/tmp/theirs " + dir + "/ferry", ""},
		{"in other places", theirs + "for d in /tmp /var/tmp /home/nosudo /run/lock; do cp /var/tmp/theirs $d/ferry 2>/dev/null; done", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			during(t, world.host2, "mv /var/lib/ferry /root/ferry.kept 2>/dev/null || :; "+c.script,
				"rm -rf /var/lib/ferry /var/tmp/theirs /var/tmp/helper-ran /home/nosudo/ferry /home/nosudo/bin /home/nosudo/v /tmp/ferry /var/tmp/ferry; mv /root/ferry.kept /var/lib/ferry 2>/dev/null || :")
			here := *in
			here.t = t
			for _, to := range []string{"root@host2", "deploy@host2"} {
				r := here.ferry("history", "helper", "--host", to, "--host-sudo")
				if c.says != "" {
					r.want(1, "the helper is not used", c.says)
				} else {
					r.want(0)
				}
			}
			if ran := output(t, world.host2, "sh", "-c", "cat /var/tmp/helper-ran 2>/dev/null || :"); ran != "" {
				t.Errorf("the other user's helper ran as uid %s", ran)
			}
			if c.says == "" {
				if got := output(t, world.host2, "stat", "-c", "%U %a", "/var/lib/ferry", dir, dir+"/ferry"); got != "root 700\nroot 700\nroot 755" {
					t.Errorf("the helper is %q", got)
				}
				if got := output(t, world.host2, "sh", "-c", "sha256sum <"+dir+"/ferry"); !strings.HasPrefix(got, sum) {
					t.Errorf("another helper: %s", got)
				}
			}
		})
	}
}

// Between upload and run, and while it runs, another user tries to replace it.
func TestHelperIsNotReplaced(t *testing.T) {
	in := newInfra(t, "", map[string]string{"replaced": vmModule("replaced")})
	during(t, world.host2, "mv /var/lib/ferry /root/ferry.kept 2>/dev/null || :; rm -f /var/tmp/helper-ran", "rm -rf /var/lib/ferry /var/tmp/helper-ran; mv /root/ferry.kept /var/lib/ferry")
	e := &escape{vmOn: onHost(t, world.host2, "replaced"), in: in}
	stop := e.meanwhileAs("nosudo", "/tmp", `printf '#!/bin/sh\necho "$(id -u)" >>/var/tmp/helper-ran\n' >/tmp/theirs; chmod 755 /tmp/theirs
while :; do for f in /var/lib/ferry /var/lib/ferry/bin /var/lib/ferry/bin/*/ferry /var/lib/ferry/bin/tmp.*/ferry /run/ferry-once.*/ferry /tmp/ferry-once.*/ferry; do
  cp -f /tmp/theirs "$f"; ln -sfn /tmp/theirs "$f"; mv -f /tmp/theirs2 "$f"
done; done 2>/dev/null`)
	for range 3 {
		output(t, world.host2, "rm", "-rf", "/var/lib/ferry/bin")
		in.ferry("rebuild", "replaced", "root@host2", "--dry-run").want(0)
		in.ferry("rebuild", "replaced", "root@host2").want(0)
	}
	stop()
	if ran := output(t, world.host2, "sh", "-c", "cat /var/tmp/helper-ran 2>/dev/null; rm -f /tmp/theirs"); ran != "" {
		t.Errorf("the other user's helper ran as uid %s", ran)
	}
}

// swapKey makes the operator know another key for a machine than it has, until
// the returned function is called.
func swapKey(t *testing.T, machine string) (undo func()) {
	t.Helper()
	output(t, world.operator, "sh", "-euc", `cp ~/.ssh/known_hosts ~/.ssh/known_hosts.kept
key=$(sed -n 's/^bare,[^ ]* //p' ~/.ssh/known_hosts); [ -n "$key" ]
grep -v -e "^$1[ ,]" ~/.ssh/known_hosts.kept >~/.ssh/known_hosts; echo "$1 $key" >>~/.ssh/known_hosts`, "sh", machine)
	ctx := context.WithoutCancel(t.Context())
	undo = func() {
		_, _ = world.operator.Output(ctx, "sh", "-c", "[ ! -e ~/.ssh/known_hosts.kept ] || mv ~/.ssh/known_hosts.kept ~/.ssh/known_hosts")
	}
	t.Cleanup(undo)
	return undo
}

const otherKey = "its host key is not the known one"

// A host whose key has changed is talked to by no command at all, with or
// without a terminal, and nothing is done there. The same for one with no key.
// nix-community/nixos-cli#121
func TestHostKeysAreNeverSkipped(t *testing.T) {
	const there = "root@host2"
	in := newInfra(t, "", map[string]string{"keys": vmModule("keys")})
	in.deploy(result.OutcomeStarted, "rebuild", "keys", there)
	in.write("keys.nix", vmModule("keys", `lab.note = "2";`))
	commands := [][]string{
		{"rebuild", "keys", there}, {"rebuild", "keys", there, "--dry-run"}, {"install", "keys", there},
		{"list", there}, {"start", "keys", "--host", there}, {"stop", "keys", "--host", there}, {"logs", "keys", "--host", there},
		{"history", "keys", "--host", there}, {"generations", "keys", "--host", there}, {"rollback", "keys", "--host", there},
		{"remove", "keys", "--host", there, "--yes"}, {"autostart", "keys", "on", "--host", there}, {"host", "setup", there},
	}
	undo := swapKey(t, "host2")
	unchanged(t, func() {
		for _, c := range commands {
			r := in.ferryWith(lab.Cmd{Args: []string{"setsid", "--wait"}}, c...)
			if r.code == 0 || !strings.Contains(r.stderr, otherKey) || !strings.Contains(r.stderr, hint) {
				t.Errorf("changed key: %s", r)
			}
		}
		in.ferryWith(lab.Cmd{TTY: true}, "rebuild", "keys", there).want(1, otherKey)
	})
	undo()
	unchanged(t, func() {
		// Few: sshd shuts out who comes often and never logs in.
		for _, c := range commands[:4] {
			for i := range c {
				c[i] = strings.ReplaceAll(c[i], there, "root@unknown-host1")
			}
			r := in.ferryWith(lab.Cmd{Args: []string{"setsid", "--wait"}}, c...)
			if r.code == 0 || !strings.Contains(r.stderr, "its host key is not known yet") || !strings.Contains(r.stderr, hint) {
				t.Errorf("unknown key: %s", r)
			}
		}
	})
	in.op("sh", "-c", "! grep -q unknown-host1 ~/.ssh/known_hosts")
}

// The key of the guest counts too: at first, and for the connection that
// confirms, where another machine may have taken its address meanwhile.
// nix-community/nixos-cli#121
func TestGuestKeysAreNeverSkipped(t *testing.T) {
	in, vm := newLive(t, "guestkey")
	first := runningSystem(t, world.guest1)
	in.write("guestkey.nix", liveModule("guestkey", "second"))
	undo := swapKey(t, "box")
	unchanged(t, func() { in.ferry("rebuild", "guestkey").want(1, otherKey, "nothing was changed") })
	undo()

	host := vm.contract()
	run := in.begin("rebuild", "guestkey", "--check-tcp=127.0.0.1:7999", "--confirm-timeout=45s")
	run.says("checking from root@host1") // the switch has ended
	undo = swapKey(t, "box")
	during(t, world.host1, "systemctl reset-failed check-7999 2>/dev/null || :; systemd-run -q --collect --unit=check-7999 busybox httpd -f -p 127.0.0.1:7999 -h /run",
		"systemctl stop check-7999 2>/dev/null || :")
	eventually(t, "the guest goes back", 2*time.Minute, func() bool { return runningSystem(t, world.guest1) == first })
	undo()
	run.wait().want(4, otherKey)
	vm.wantContract(host)

	// Nor is the VM restarted for it.
	undo = swapKey(t, "box")
	unchanged(t, func() {
		in.ferry("rebuild", "guestkey", "--restart=always", "--confirm-timeout=15s").want(1, otherKey, "nothing was changed")
	})
	undo()
	vm.wantContract(host)
}
