//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// sshConfig puts lines before the operator's ssh_config until the test ends.
func sshConfig(t *testing.T, lines string) {
	t.Helper()
	during(t, world.operator, "cp -p ~/.ssh/config ~/.ssh/config.kept && { printf '%s\n' '"+lines+"'; cat ~/.ssh/config.kept; } >~/.ssh/config",
		"mv ~/.ssh/config.kept ~/.ssh/config")
}

// A user who multiplexes keeps their connection; ferry uses it.
// NixOS/nixpkgs#495907
func TestUsersMultiplexingIsUsed(t *testing.T) {
	in := newInfra(t, "", map[string]string{"mux": vmModule("mux")})
	sshConfig(t, "Host host1\n\tControlMaster auto\n\tControlPath ~/.ssh/own-%C\n\tControlPersist 10m")
	during(t, world.operator, ":", "ssh -O exit host1 2>/dev/null || :")
	before := connections(t, world.host1)
	in.deploy(result.OutcomeStarted, "rebuild", "mux", toHost1)
	in.write("mux.nix", vmModule("mux", `lab.note = "2";`))
	in.deploy(result.OutcomeRestarted, "rebuild", "mux", toHost1)
	if got := connections(t, world.host1) - before; got != 1 {
		t.Errorf("two deployments made %d connections", got)
	}
	in.op("ssh", "-O", "check", "host1")
}

// Long names and a long TMPDIR leave room for the socket.
// NixOS/nixpkgs#168322, #495484
func TestLongNamesLeaveRoomForTheSocket(t *testing.T) {
	in := newInfra(t, "", map[string]string{"longpath": vmModule("longpath")})
	alias := strings.Repeat("a-very-long-name.", 6) + "example.org"
	user := strings.Repeat("u", 32)
	sshConfig(t, "Host "+alias+"\n\tHostName host1\n\tHostKeyAlias host1")
	during(t, world.host1, `useradd --badname -m "`+user+`" && cp -r /home/deploy/.ssh /home/`+user+`/ && chown -R `+user+` /home/`+user+`/.ssh
echo "`+user+` ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/long`, "userdel -rf "+user+" 2>/dev/null; rm /etc/sudoers.d/long")
	tmp := "/tmp/" + strings.Repeat("deep/", 25) + "end"
	during(t, world.operator, "mkdir -p "+tmp, "rm -r /tmp/deep")
	in.ferryWith(lab.Cmd{Env: []string{"TMPDIR=" + tmp}}, "rebuild", "longpath", user+"@"+alias, "--host-sudo").want(0, "longpath: started")
}

// An sshd that drops all but one connection in its handshake.
// nix-community/infra#1417
func TestDroppedHandshakesAreTriedAgain(t *testing.T) {
	modules := map[string]string{}
	for i := range 6 {
		modules[fmt.Sprintf("burst%d", i)] = vmModule(fmt.Sprintf("burst%d", i))
	}
	in := newInfra(t, "", modules)
	during(t, world.host1, "echo 'MaxStartups 1' >/etc/ssh/sshd_config.d/00-burst.conf && systemctl reload ssh",
		"rm /etc/ssh/sshd_config.d/00-burst.conf && systemctl reload ssh")
	var all sync.WaitGroup
	results := make([]*ran, 6)
	for i := range results {
		all.Go(func() { results[i] = in.ferry("rebuild", fmt.Sprintf("burst%d", i), toHost1) })
	}
	all.Wait()
	for _, r := range results {
		r.want(0, "started")
	}
}

// Derivations go over ssh-ng, the host gets one connection, and a live
// switch adds one to the guest and one that confirms.
func TestDeploymentNeedsOneConnection(t *testing.T) {
	in := newInfra(t, "", map[string]string{"conns": vmModule("conns", fmt.Sprintf("lab.note = %q;", time.Now()))})
	undo := spyOnNix(t, world.operator)
	before := connections(t, world.host1)
	in.deploy(result.OutcomeStarted, "rebuild", "conns", toHost1)
	if got := connections(t, world.host1) - before; got != 1 {
		t.Errorf("the first deployment made %d connections", got)
	}
	calls := undo()
	if !strings.Contains(calls, "--to ssh-ng://root@host1") || strings.Count(calls, "nix --extra-experimental-features nix-command flakes copy") != 1 {
		t.Errorf("copied otherwise than once over ssh-ng:\n%s", calls)
	}
	if strings.Contains(calls, "ssh://") {
		t.Errorf("copied over the old protocol:\n%s", calls)
	}

	live, _ := newLive(t, "connlive")
	live.write("connlive.nix", liveModule("connlive", "second"))
	hostBefore, guestBefore := connections(t, world.host1), logins(t, world.guest1)
	live.deploy(result.OutcomeSwitched, "rebuild", "connlive")
	if h, g := connections(t, world.host1)-hostBefore, logins(t, world.guest1)-guestBefore; h != 1 || g != 2 {
		t.Errorf("a live switch made %d connections to the host and %d logins to the guest", h, g)
	}
}

// A dry run leaves nothing on a host that ferry has never seen.
func TestDryRunLeavesNoTrace(t *testing.T) {
	in := newInfra(t, "", map[string]string{"untouched": vmModule("untouched")})
	during(t, world.host2, "mv /var/lib/ferry /root/ferry.kept 2>/dev/null || mkdir /root/ferry.kept",
		"rm -rf /var/lib/ferry && mv /root/ferry.kept /var/lib/ferry")
	look := func() string {
		return output(t, world.host2, "sh", "-c", `find /var/lib /run /tmp /var/tmp /root /etc /nix/store /nix/var/nix/gcroots /nix/var/nix/profiles -maxdepth 2 \
  ! -path '/run/user*' ! -path '/run/log*' ! -path '/run/systemd*' ! -path '/run/sshd*' ! -path '/run/udev*' ! -path '/run/sudo*' ! -path '/var/lib/systemd*' -printf '%p %m %l\n' | sort`)
	}
	before := look()
	for _, to := range []string{"root@host2", "deploy@host2"} {
		in.ferry("rebuild", "untouched", to, "--host-sudo", "--dry-run").want(0, "untouched: would copy the derivations", "start it (the VM is new)").without("uploaded")
	}
	if after := look(); after != before {
		t.Errorf("a dry run left:\n%s", difference(before, after))
	}
}

// What a killed ferry left behind is put away by the next run.
func TestStaleConnectionIsEnded(t *testing.T) {
	in := newInfra(t, "", map[string]string{"stale": vmModule("stale", slowBuild("stale"))})
	in.ferry("rebuild", "stale", toHost1, "--dry-run").want(0) // puts away what other tests have left
	run := in.begin("rebuild", "stale", toHost1)
	eventually(t, "the build", time.Minute, func() bool { return builders(t, world.host1, "stale") > 0 })
	run.signal("KILL")
	run.wait()
	count := func() string {
		return in.op("sh", "-c", "ls -d /tmp/ferry-* 2>/dev/null | wc -l; pgrep -fc '[s]sh .*/tmp/ferry-' || :")
	}
	if got := count(); !strings.HasPrefix(got, "1\n") || strings.HasSuffix(got, "\n0") {
		t.Fatalf("a killed ferry left %q: is this test still right?", got)
	}
	in.ferry("rebuild", "stale", toHost1, "--dry-run").want(0)
	eventually(t, "nothing left", 10*time.Second, func() bool { return count() == "0\n0" })
}
