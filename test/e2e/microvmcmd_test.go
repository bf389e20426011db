//go:build lab

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"ferry/internal/lab"
)

// microvmOn runs the drop-in on a host, as root, in a directory there.
func microvmOn(t *testing.T, h *lab.Machine, dir string, args ...string) *ran {
	t.Helper()
	return microvmAgain(t.Context(), t, h, dir, args...)
}

func microvmAgain(ctx context.Context, t *testing.T, h *lab.Machine, dir string, args ...string) *ran {
	t.Helper()
	var out, errs bytes.Buffer
	err := h.Run(ctx, lab.Cmd{Args: append([]string{"microvm"}, args...), Dir: dir, Stdout: &out, Stderr: &errs})
	r := &ran{t: t, args: append([]string{"(microvm)"}, args...), stdout: out.String(), stderr: errs.String()}
	var re *lab.RunError
	switch {
	case errors.As(err, &re):
		r.code = re.ExitCode
	case err != nil && ctx.Err() == nil:
		t.Fatalf("microvm %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// copyTo makes the flake the host's own, at the same place. What the test makes
// of it is gone when the test ends, since other tests check all flakes of a host.
func (in *infra) copyTo(h *lab.Machine) {
	in.t.Helper()
	in.t.Cleanup(func() {
		_, _ = h.Output(context.WithoutCancel(in.t.Context()), "sh", "-c", `cd /var/lib/microvms; for f in */flake; do
  [ -f "$f" ] && grep -q -F -e "$1" -e path: "$f" && rm "$f"; done`, "sh", in.dir)
	})
	in.copyAs(h, in.dir)
	for _, dir := range []string{"/root/microvm.nix", "/root/site"} {
		copyDir(in.t, dir, h, dir)
	}
}

func (in *infra) copyAs(h *lab.Machine, to string) { in.t.Helper(); copyDir(in.t, in.dir, h, to) }

func copyDir(t *testing.T, from string, h *lab.Machine, to string) {
	t.Helper()
	output(t, h, "rm", "-rf", to)
	out, err := exec.Command("sh", "-euc", `mkdir -p "$(dirname "$2")"; cp -a "$1" "$2"`, "sh", world.operator.Path(from), h.Path(to)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// -c, -u, -R: microvm.nix's results on disk, and restarts only where needed.
func TestDropinCreatesAndUpdates(t *testing.T) {
	in := newInfra(t, "", map[string]string{"drop": vmModule("drop")})
	vm := onHost(t, world.host1, "drop")
	in.copyTo(world.host1)
	// A relative -f, with options in the other order too.
	// microvm-nix/microvm.nix#539
	r := microvmOn(t, world.host1, in.dir, "-f", ".", "-c", "drop").want(0, "Created MicroVM drop.", "systemctl start microvm@drop.service")
	if got := output(t, world.host1, "cat", vm.dir()+"/flake"); got != in.dir {
		t.Errorf("flake is %q: %s", got, r)
	}
	if got := output(t, world.host1, "stat", "-c", "%U:%G %F", vm.dir()); got != "root:kvm directory" {
		t.Errorf("the directory is %s", got)
	}
	if vm.root("microvm/drop") != vm.dir()+"/current" || vm.root("microvm/booted-drop") != vm.dir()+"/booted" {
		t.Error("the roots are not microvm.nix's")
	}
	if vm.property("ActiveState") != "inactive" {
		t.Error("-c started it")
	}
	run := func(code int, args ...string) *ran {
		t.Helper()
		return microvmAgain(t.Context(), t, world.host1, "/", args...).want(code)
	}
	run(1, "-c", "drop", "-f", in.dir).want(1, "already exists")
	run(0, "-u", "drop").want(0, "up to date", "it is not running")
	run(0, "-Ru", "drop").want(0, "started")
	invocation := vm.invocation()
	run(0, "-Ru", "drop").want(0, "up to date", "no restart needed")
	if vm.invocation() != invocation {
		t.Error("-R restarted what had not changed")
	}

	in.write("drop.nix", strings.Replace(vmModule("drop"), "mem = 256", "mem = 384", 1))
	in.copyTo(world.host1)
	run(0, "-l").want(0, "drop: outdated(", "microvm -Ru drop")
	first := vm.link("current")
	run(0, "-u", "drop").want(0, "updated (generation 2)", "memory 256 → 384 MiB", "needs a restart: systemctl restart microvm@drop.service")
	if vm.invocation() != invocation || vm.link("booted") != first || vm.link("old") != first || vm.link("current") == first {
		t.Error("-u touched what runs, or did not install")
	}
	run(0, "-l").want(0, "drop: stale(", "systemctl restart microvm@drop.service")
	run(0, "-Ru", "drop").want(0, "restarted")
	if vm.link("booted") != vm.link("current") {
		t.Error("-R did not restart it")
	}
	run(0, "-l").want(0, "drop: current(")
	collectGarbage(t, world.host1)
	valid(t, world.host1, vm.link("current"))
	// What the drop-in made, ferry goes on with.
	in.ferry("rebuild", "drop", toHost1).want(0, "unchanged")

	// What -R can't bring up is undone, and that is said.
	before := vm.contract()
	in.write("drop.nix", vmModule("drop", `microvm.preStart = "echo out of luck; exit 3";`))
	in.copyTo(world.host1)
	run(4, "-Ru", "drop").want(4, "microvm@drop.service", "out of luck", "the previous runner is current", "runs again")
	vm.wantContract(before)
	if vm.property("ActiveState") != "active" {
		t.Error("the previous runner does not run")
	}
}

// The default flake, /etc/nixos, works where it is in no git repository.
// microvm-nix/microvm.nix#539
func TestDropinDefaultFlake(t *testing.T) {
	in := newInfra(t, "", map[string]string{"etc": vmModule("etc")})
	in.copyTo(world.host1)
	in.copyAs(world.host1, "/etc/nixos")
	during(t, world.host1, "rm -rf /etc/nixos/.git", "rm -rf /etc/nixos")
	microvmOn(t, world.host1, "/", "-c", "etc").want(0, "Created MicroVM etc.")
	if got := output(t, world.host1, "cat", "/var/lib/microvms/etc/flake"); got != "path:/etc/nixos" {
		t.Errorf("flake is %q", got)
	}
	microvmAgain(t.Context(), t, world.host1, "/", "-u", "etc").want(0, "up to date")
}

// VMs without a flake file, with a broken one or a build that fails don't
// stop the rest; -u without names updates all that can be. A fixed path of
// the store is named (microvm-nix/microvm.nix#55, #416, #283).
func TestDropinGoesOn(t *testing.T) {
	in := newInfra(t, "", map[string]string{"bare": vmModule("bare"), "good": vmModule("good"), "bad": vmModule("bad"), "fixed": vmModule("fixed")})
	in.ferry("install", "bare", toHost1).want(0)
	in.copyTo(world.host1)
	for _, n := range []string{"good", "bad", "fixed"} {
		microvmOn(t, world.host1, in.dir, "-c", n, "-f", ".").want(0)
	}
	in.write("good.nix", vmModule("good", `lab.note = "2";`))
	in.write("bad.nix", vmModule("bad", `lab.buildFails = true;`))
	in.copyTo(world.host1)
	source := output(t, world.host1, "sh", "-c", "nix flake metadata --json "+in.dir+` | sed 's/.*"path":"\([^"]*\)".*/\1/'`)
	output(t, world.host1, "sh", "-c", "printf %s path:"+source+" >/var/lib/microvms/fixed/flake")
	bad := onHost(t, world.host1, "bad")
	before := bad.link("current")
	r := microvmAgain(t.Context(), t, world.host1, "/", "-u", "bad", "bare", "nosuch", "good", "fixed")
	r.want(3, "3 of 5 MicroVMs failed: bad, bare, nosuch", "bare: it has no `flake` file", "there is no VM nosuch", "good: updated", "never find anything new")
	if bad.link("current") != before {
		t.Error("a failed build was installed")
	}
	if got := output(t, world.host1, "sh", "-c", "ls /nix/var/nix/gcroots/ferry/bad 2>/dev/null || :"); got != "" {
		t.Errorf("roots are left: %s", got)
	}
	microvmAgain(t.Context(), t, world.host1, "/", "-u").want(3, "bare: left out: it has no `flake` file", "good: up to date", "error: bad: building")
	microvmAgain(t.Context(), t, world.host1, "/", "-u", "bad").want(1, "bad")
	microvmAgain(t.Context(), t, world.host1, "/", "-l").want(0, "bare: current(", "good: current(", "bad: outdated(", "fixed: ")
}

// Nothing is left of a VM whose creation failed or was interrupted.
func TestDropinLeavesNothing(t *testing.T) {
	in := newInfra(t, "", map[string]string{"half": vmModule("half", `lab.buildFails = true;`)})
	in.copyTo(world.host1)
	vm := onHost(t, world.host1, "half")
	microvmOn(t, world.host1, in.dir, "-c", "half", "-f", ".").want(1, "half")
	vm.noDirectory()
	microvmAgain(t.Context(), t, world.host1, in.dir, "-c", "nosuch", "-f", ".").want(1, "nosuch", hint)
	microvmAgain(t.Context(), t, world.host1, in.dir, "-c", "half", "-f", "./nowhere").want(2, "does not exist")
	vm.noDirectory()

	in.write("half.nix", vmModule("half"))
	in.copyTo(world.host1)
	microvmAgain(t.Context(), t, world.host1, in.dir, "-c", "half", "-f", ".").want(0, "Created")
}

func TestDropinBadInput(t *testing.T) {
	run := func(code int, wants string, args ...string) {
		t.Helper()
		microvmAgain(t.Context(), t, world.host1, "/", args...).want(code, wants)
	}
	unchanged(t, func() {
		run(0, "Usage: microvm")
		run(2, "unknown option", "-x")
		run(2, "options come first", "-u", "web", "-R")
		run(2, "needs a value", "-c")
		run(2, "name", "-c", "../etc")
		run(1, "there is no VM", "-s", "nosuch")
		run(1, "there is no VM", "-r", "nosuch")
		run(1, "there is no VM", "-u", "nosuch")
		err := world.host1.Run(t.Context(), lab.Cmd{Args: []string{"microvm", "-c", "web"}, User: "deploy"})
		var re *lab.RunError
		if !errors.As(err, &re) || re.ExitCode != 1 || !strings.Contains(re.Stderr, "sudo") {
			t.Errorf("without root: %v", err)
		}
	})
}

// -r runs the VM in the foreground, in its directory; one that runs is left
// alone.
func TestDropinForeground(t *testing.T) {
	in := newInfra(t, "", map[string]string{"fore": vmModule("fore")})
	in.ferry("install", "fore", toHost1).want(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan *ran, 1)
	go func() { ended <- microvmAgain(ctx, t, world.host1, "/", "-r", "fore") }()
	eventually(t, "the VM runs", 20*time.Second, func() bool {
		return output(t, world.host1, "sh", "-c", "cat /var/lib/microvms/fore/fore.pid 2>/dev/null || :") != ""
	})
	cancel()
	if r := <-ended; !strings.Contains(r.stdout, "process VM: -name fore") {
		t.Errorf("it said %s", r)
	}
	onHost(t, world.host1, "fore").systemctl("start")
	microvmAgain(t.Context(), t, world.host1, "/", "-r", "fore").want(1, "is already running", "systemctl stop microvm@fore")
}

// muxModule is a VM whose runner plays cloud-hypervisor's vsock: its socket
// leads to the host's own sshd, in place of a guest's.
func muxModule(name string) string {
	return `{ packages, ... }:
{
  networking.hostName = "` + name + `";
  microvm.declaredRunner = packages.run "microvm-cloud-hypervisor-` + name + `" {
    socat = packages.socat;
    go = packages.writeShellScript "go" "rm -f notify.vsock; exec ${packages.socat}/bin/socat UNIX-LISTEN:notify.vsock,fork EXEC:${packages.writeShellScript "mux" "IFS= read -r line; [ \"$line\" = 'CONNECT 22' ] || exit 1; echo OK 1024; exec ${packages.socat}/bin/socat - TCP:127.0.0.1:22"}";
  } ''
    mkdir -p $out/bin $out/share/microvm
    ln -s $go $out/bin/microvm-run
    echo cloud-hypervisor >$out/share/microvm/hypervisor
    echo 7 >$out/share/microvm/vsock-cid
  '';
}
`
}

// -s through a vsock multiplexer, with real ssh: the guest's host key is pinned
// at the first login, in root's own file, and another one is refused.
// nix-community/nixos-cli#121
func TestDropinSSH(t *testing.T) {
	in := newInfra(t, "", map[string]string{"mux": muxModule("mux"), "novsock": vmModule("novsock")})
	in.ferry("rebuild", "mux", toHost1).want(0, "started")
	in.ferry("rebuild", "novsock", toHost1).want(0, "started")
	const known = "/var/lib/ferry/known_hosts"
	during(t, world.host1, `rm -f `+known+` /root/mux-key*
cp /root/.ssh/authorized_keys /root/authorized_keys.before
ssh-keygen -q -t ed25519 -N "" -f /root/mux-key
cat /root/mux-key.pub >>/root/.ssh/authorized_keys`,
		`mv /root/authorized_keys.before /root/.ssh/authorized_keys; rm -f /root/mux-key* `+known)
	eventually(t, "the VM listens", 10*time.Second, func() bool {
		return output(t, world.host1, "sh", "-c", "[ -S /var/lib/microvms/mux/notify.vsock ] && echo yes || :") == "yes"
	})
	login := func(code int, wants ...string) *ran {
		t.Helper()
		return microvmAgain(t.Context(), t, world.host1, "/", "-s", "mux", "--", "-i", "/root/mux-key", "-o", "BatchMode=yes", "echo", "hello from", "$(hostname)").want(code, wants...)
	}
	login(0, "hello from host1")
	if got := output(t, world.host1, "stat", "-c", "%U %a", path.Dir(known), known); got != "root 700\nroot 600" && got != "root 700\nroot 644" {
		t.Errorf("the pinned keys are %s", got)
	}
	if got := output(t, world.host1, "cat", known); !strings.HasPrefix(got, "microvm-mux ") {
		t.Errorf("pinned: %s", got)
	}
	login(0, "hello from host1")
	// From the operator, by the host's command and root's own key there.
	during(t, world.host1, "cp /root/mux-key /root/.ssh/id_ed25519", "rm -f /root/.ssh/id_ed25519")
	in.ferry("ssh", "mux", "--vsock", "--host="+toHost1, "echo", "hello over vsock from", "$(hostname);", "exit 7").want(7, "hello over vsock from host1")
	in.ferry("ssh", "novsock", "--vsock", "--host="+toHost1).want(1, "has no vsock")
	// Another key under the VM's name is refused.
	output(t, world.host1, "sh", "-euc", `ssh-keygen -q -t ed25519 -N "" -f /root/mux-key-other; { printf 'microvm-mux '; cat /root/mux-key-other.pub; } >`+known)
	login(255, "REMOTE HOST IDENTIFICATION HAS CHANGED", "microvm-mux").without("hello from")

	microvmAgain(t.Context(), t, world.host1, "/", "-s", "novsock").want(1, "has no vsock", "microvm.vsock.cid")
	onHost(t, world.host1, "mux").systemctl("stop")
	microvmAgain(t.Context(), t, world.host1, "/", "-s", "mux").want(1, "mux is not running")
}
