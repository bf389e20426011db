//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// An escaped guest is user microvm. evil is what it would have root run, follow
// or evaluate; it notes who ran or evaluated it. guarded is what of the host
// nothing may touch.
const (
	evil    = "/var/tmp/evil"
	guarded = "/etc /usr/local /home /root /var/tmp/canary"
)

const makeEvil = `set -e
rm -rf /var/tmp/evil /var/tmp/canary; mkdir -p /var/tmp/evil/bin /var/tmp/evil/share/microvm /var/tmp/evil/flake /var/tmp/canary/dir
echo canary >/var/tmp/canary/file; echo canary >/var/tmp/canary/dir/file; chmod 600 /var/tmp/canary/file
for p in microvm-run microvm-shutdown microvm-register microvm-unregister microvm-console tap-up tap-down macvtap-up macvtap-down pci-setup virtiofsd-run; do
  printf '#!/bin/sh\necho "$(id -u) %s" >>/var/tmp/evil/ran\nexec sleep 1\n' $p >/var/tmp/evil/bin/$p
done
printf '{ outputs = _: builtins.trace "EVIL WAS EVALUATED" { nixosConfigurations = { }; }; }\n' >/var/tmp/evil/flake/flake.nix
chmod 755 /var/tmp/evil/bin/*; : >/var/tmp/evil/ran; chmod 666 /var/tmp/evil/ran
chown -R microvm:kvm /var/tmp/evil`

// escape is a VM on the host that ferry set up, and the escaped guest of another.
type escape struct {
	vmOn
	in *infra
}

func newEscape(t *testing.T, name string) *escape {
	t.Helper()
	in := newInfra(t, "", map[string]string{name: vmModule(name)})
	e := &escape{vmOn: onHost(t, world.host2, name), in: in}
	during(t, world.host2, makeEvil, "rm -rf "+evil+" /var/tmp/canary")
	if got := output(t, world.host2, "stat", "-c", "%U %a", "/var/lib/microvms"); got != "root 755" {
		t.Fatalf("the state directory is %s: this is no host that ferry set up", got)
	}
	return e
}

// as runs a script as user microvm in the VM's directory. It returns the exit
// code and everything it said.
func (e *escape) as(script string) (int, string) {
	e.t.Helper()
	var out strings.Builder
	err := e.host.Run(e.t.Context(), lab.Cmd{User: "microvm", Dir: e.dir(), Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	var re *lab.RunError
	if err != nil && !errors.As(err, &re) {
		e.t.Fatal(err)
	}
	if re != nil {
		return re.ExitCode, out.String()
	}
	return 0, out.String()
}

// plant is as for what must work, as far as the directory's mode is concerned.
func (e *escape) plant(script string) {
	e.t.Helper()
	if code, out := e.as("set -e; " + script); code != 0 {
		e.t.Fatalf("planting `%s`: %s", script, out)
	}
}

// meanwhile runs a script as user microvm until the returned function is called,
// for two minutes at most.
func (e *escape) meanwhile(script string) (stop func()) {
	return e.meanwhileAs("microvm", e.dir(), script)
}

func (e *escape) meanwhileAs(user, dir, script string) (stop func()) {
	ctx, cancel := context.WithCancel(e.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.host.Run(ctx, lab.Cmd{User: user, Dir: dir, Args: []string{"timeout", "120", "sh", "-c", script}})
	}()
	return func() {
		cancel()
		<-ended
	}
}

// untouched runs do and fails if anything guarded changed, or root ran or
// evaluated anything evil.
func (e *escape) untouched(do func()) {
	e.t.Helper()
	look := func() string {
		return output(e.t, e.host, "sh", "-c", `find `+guarded+` -xdev \( -path /root/.cache -o -path '/root/.nix*' -o -path /root/.local -o -path '/root/t' -o -path /root/.ssh \) -prune -o ! -type d -printf '%p %i %M %u:%g %s %T@ %l\n' -o -printf '%p %i %M %u:%g\n' | sort`)
	}
	before := look()
	do()
	if after := look(); after != before {
		e.t.Errorf("outside of the VM's directory this changed:\n%s", difference(before, after))
	}
	if ran := output(e.t, e.host, "sh", "-c", "grep '^0 ' "+evil+"/ran || :"); ran != "" {
		e.t.Errorf("root ran:\n%s", ran)
		output(e.t, e.host, "sh", "-c", ": >"+evil+"/ran")
	}
}

// ferry runs a command under a deadline; it must end with a message and neither
// hang nor evaluate anything evil nor show a file that only root can read.
func (e *escape) ferry(args ...string) *ran {
	e.t.Helper()
	ctx, cancel := lab.WithPatience(e.t.Context(), 60*time.Second)
	defer cancel()
	r := e.in.ferryContext(ctx, lab.Cmd{}, args...)
	if ctx.Err() != nil {
		e.t.Fatalf("it hung: %s", r)
	}
	r.without("EVIL WAS EVALUATED").without("root:x:").without("panic").without("canary\n")
	return r
}

func (e *escape) microvm(args ...string) *ran {
	e.t.Helper()
	ctx, cancel := lab.WithPatience(e.t.Context(), 60*time.Second)
	defer cancel()
	r := microvmAgain(ctx, e.t, e.host, "/", args...)
	if ctx.Err() != nil {
		e.t.Fatalf("it hung: %s", r)
	}
	return r.without("EVIL WAS EVALUATED").without("root:x:").without("panic")
}

// What is root's in the directory stays: none of these works, while the VM runs.
func TestEscapedGuestCannotReplace(t *testing.T) {
	e := newEscape(t, "escape")
	e.in.deploy(result.OutcomeStarted, "rebuild", "escape", "root@host2", "--update-flake", "github:example/infra")
	e.in.write("escape.nix", vmModule("escape", `lab.note = "2";`))
	e.in.deploy(result.OutcomeRestarted, "rebuild", "escape", "root@host2") // so that there is `old`
	if got := output(t, e.host, "stat", "-c", "%U:%G %a", e.dir(), "/var/lib/ferry"); got != "root:kvm 1775\nroot:root 700" {
		t.Fatalf("the directories are %s", got)
	}
	list := func() string {
		return output(t, e.host, "sh", "-c", `cd /var/lib/microvms && stat -c '%n %i %U %h %F %s' . escape escape/current escape/old escape/booted escape/flake && readlink escape/*; cat escape/flake`)
	}
	before := list()
	var tries []string
	for _, name := range []string{"current", "old", "booted", "flake"} {
		tries = append(tries,
			"rm -f "+name, "mv "+name+" x", "ln -sfn "+evil+" "+name, "ln -sfnT "+evil+" "+name,
			"ln -s "+evil+" x; mv -T x "+name+"; code=$?; rm -f x; exit $code",
			"echo evil >"+name+".new; mv "+name+".new "+name+"; code=$?; rm -f "+name+".new; exit $code",
			"mkdir d; mv -T d "+name+"; code=$?; rmdir d; exit $code", "chown -h microvm "+name, "ln -P "+name+" x")
	}
	tries = append(tries, "echo evil >flake", "echo evil >>flake", "chmod 666 flake", "truncate -s 0 flake",
		"mv ../escape ../gone", "rm -rf ../escape/current ../escape/booted", "rmdir ../escape", "mkdir ../new", "ln -s "+evil+" ../new", "chmod 777 .", "chmod -t .", "chown microvm .",
		"ls /var/lib/ferry", "cat /var/lib/ferry/vms/escape/history.jsonl", "echo x >/var/lib/ferry/x",
		"ln -sfn "+evil+" /nix/var/nix/gcroots/microvm/escape", "rm /nix/var/nix/profiles/ferry/escape/runner",
		"timeout 5 systemctl --no-ask-password restart microvm@escape", "timeout 5 systemctl --no-ask-password stop microvm@escape", "echo x >/run/ferry-hold")
	e.untouched(func() {
		for _, try := range tries {
			if code, out := e.as(try); code == 0 {
				t.Errorf("`%s` worked: %s", try, out)
			}
			if after := list(); after != before {
				t.Fatalf("`%s` changed:\n%s", try, difference(before, after))
			}
		}
		e.in.ferry("rebuild", "escape", "root@host2").want(0, "unchanged")
	})
	t.Logf("%d attempts", len(tries))
	e.notifies()
}

// notifies sends what a service may tell systemd, from inside the unit: another
// main process, no end. The VM stops as before.
func (e *escape) notifies() {
	e.t.Helper()
	main := e.property("MainPID")
	output(e.t, e.host, "sh", "-c", `group=$(find /sys/fs/cgroup -path '*/microvm@escape.service/cgroup.procs' | head -n 1)
sh -c 'echo $$ >"$1" || exit 77
exec setpriv --reuid=microvm --regid=kvm --clear-groups env NOTIFY_SOCKET=/run/systemd/notify sh -c "systemd-notify MAINPID=1; systemd-notify --ready; exit 0"' sh "$group"`)
	if got := e.property("MainPID"); got != main {
		e.t.Errorf("the main process became %s", got)
	}
	e.ferry("stop", e.name, "--host", "root@host2").want(0, "stopped")
	if got := e.property("ActiveState"); got != "inactive" {
		e.t.Errorf("after stopping it is %s", got)
	}
}

// planted is something put where root's entries are not, and what ferry makes of
// it. Commands end with the given code, or say why not.
type planted struct {
	name, script string
	says         string // by `ferry rebuild`; empty: it goes on
	list         string // by `ferry list`
}

// What an escaped guest leaves in the directory of a VM that is stopped, so that
// `booted` is free, and was never updated, so that `old` and `flake` are.
func TestEscapedGuestPlants(t *testing.T) {
	e := newEscape(t, "planted")
	e.in.deploy(result.OutcomeStarted, "rebuild", "planted", "root@host2")
	e.ferry("stop", "planted", "--host", "root@host2").want(0)
	current := e.link("current")
	notRoots, noLink := "instead of root", "is not a symbolic link"
	for i, p := range []planted{
		{"booted leads elsewhere", "ln -s " + evil + " booted", notRoots, notRoots},
		{"booted is a directory with scripts", "cp -r " + evil + " booted", noLink, noLink},
		{"booted is a pipe", "mkfifo booted", noLink, noLink},
		{"old leads elsewhere", "ln -s /var/tmp/canary old", notRoots, ""},
		{"old is a directory", "mkdir old", noLink, ""},
		{"flake names another flake", "echo path:" + evil + "/flake >flake", "", notRoots},
		{"flake leads to a file of root's", "ln -s /etc/shadow flake", "", "not a regular file"},
		{"flake leads to a file beside it", "echo path:" + evil + "/flake >x; ln -s x flake", "", "not a regular file"},
		{"flake is a pipe", "mkfifo flake", "", "not a regular file"},
		{"flake is a directory", "mkdir flake", "", "not a regular file"},
		{"flake is huge", "truncate -s 1T flake", "", notRoots},
		{"flake is a socket", `perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un("flake"))'`, "", "not a regular file"},
		{"toplevel", "ln -s /nix/store toplevel", "", ""},
		{"names that ferry uses", "for n in current old flake booted; do ln -s /var/tmp/canary/file .ferry-$n; ln -s /var/tmp/canary/file .ferry-$n-0011223344556677; done; mkfifo .ferry-x", "", ""},
		{"links out of the directory", "ln -s /etc etc; ln -s /var/tmp/canary canary; ln -s / root", "", ""},
		{"deep directories", "i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; ln -s /var/tmp/canary/dir x", "", ""},
		{"many files", "mkdir many; cd many; seq 5000 | xargs touch", "", ""},
	} {
		t.Run(p.name, func(t *testing.T) {
			here := *e
			here.t, here.vmOn.t = t, t
			in := *e.in
			in.t, here.in = t, &in
			here.untouched(func() { here.plants(p, i, current) })
		})
	}
	e.untouched(func() { e.ferry("remove", "planted", "--host", "root@host2", "--yes").want(0) })
	e.noDirectory()
}

func (e *escape) plants(p planted, i int, current string) {
	t := e.t
	e.plant(p.script)
	defer output(t, e.host, "sh", "-c", `systemctl stop microvm@planted; systemctl reset-failed 'microvm*@planted.service' 2>/dev/null; cd /var/lib/microvms/planted && for f in .ferry-* *; do
  case $f in current) ;; *) rm -rf -- "$f";; esac; done`)
	if r := e.ferry("list", "root@host2"); p.list != "" {
		r.want(0, p.list)
	}
	e.microvm("-l")
	e.microvm("-u", "planted").want(1)
	e.ferry("history", "planted", "--host", "root@host2").want(0)
	e.ferry("diff", "planted", "--host", "root@host2")
	e.ferry("rollback", "planted", "--host", "root@host2", "--dry-run")
	e.ferry("host", "setup", "root@host2", "--dry-run")
	e.ferry("host", "setup", "root@host2", "--remove", "--dry-run")
	e.in.write("planted.nix", vmModule("planted", fmt.Sprintf(`lab.note = "%d";`, i)))
	r := e.ferry("rebuild", "planted", "root@host2", "boot")
	if p.says == "" {
		r.want(0, "installed")
		if now := e.link("current"); now == current {
			t.Error("nothing was installed")
		}
	} else {
		r.want(1, p.says, hint, "nothing was changed")
	}
	// Whatever is planted, systemd boots what root has installed, or nothing.
	_, _ = e.host.Output(t.Context(), "timeout", "30", "systemctl", "start", "microvm@planted")
	if e.property("ActiveState") == "active" {
		if booted := e.link("booted"); booted != e.link("current") || !strings.HasPrefix(booted, "/nix/store/") {
			t.Errorf("it runs %s", booted)
		}
	}
	if ran := output(t, e.host, "cat", evil+"/ran"); ran != "" {
		t.Errorf("ran:\n%s", ran)
	}
}

// A VM that was removed but for its data has no `current` and no `booted`: all of
// both is planted, and somebody starts the unit.
func TestEscapedGuestPlantsARunner(t *testing.T) {
	e := newEscape(t, "husk")
	e.in.deploy(result.OutcomeStarted, "rebuild", "husk", "root@host2")
	e.plant("echo data >volume.img")
	e.ferry("remove", "husk", "--host", "root@host2", "--keep-data").want(0)
	for _, script := range []string{
		"ln -s " + evil + " booted", "ln -s " + evil + " booted; ln -s " + evil + " current", "ln -s " + evil + " current",
		"cp -r " + evil + " booted; cp -r " + evil + " current",
		// To hit the moments between the units' conditions and their starts.
		"while :; do ln -sfn " + evil + " booted; ln -sfn " + evil + " current; rm -f current; rm -f booted; done",
	} {
		e.untouched(func() {
			stop := func() {}
			if strings.HasPrefix(script, "while") {
				stop = e.meanwhile(script)
			} else {
				e.plant(script)
			}
			defer func() { stop() }()
			for range 3 {
				_, _ = e.host.Output(t.Context(), "timeout", "20", "systemctl", "start", "microvm@husk")
				for _, unit := range []string{"tap-interfaces", "macvtap-interfaces", "pci-devices", "virtiofsd"} {
					_, _ = e.host.Output(t.Context(), "timeout", "20", "systemctl", "start", "microvm-"+unit+"@husk")
				}
				_, _ = e.host.Output(t.Context(), "sh", "-c", "systemctl stop microvm@husk 'microvm-*@husk.service'; systemctl reset-failed 'microvm*@husk.service'")
			}
			e.ferry("list", "root@host2")
			e.ferry("start", "husk", "--host", "root@host2").want(1, hint)
		})
		output(t, e.host, "sh", "-c", "cd /var/lib/microvms/husk && rm -rf current booted")
	}
	e.in.deploy(result.OutcomeStarted, "rebuild", "husk", "root@host2")
	if got := output(t, e.host, "cat", e.dir()+"/volume.img"); got != "data" {
		t.Errorf("the data is %q", got)
	}
}

// While an escaped guest plants and replaces as fast as it can, root deploys.
func TestEscapedGuestRaces(t *testing.T) {
	e := newEscape(t, "racing")
	e.in.deploy(result.OutcomeStarted, "rebuild", "racing", "root@host2")
	stop := e.meanwhile(`while :; do
  for n in current old booted flake toplevel; do
    ln -s /var/tmp/canary/file $n; mv -f $n x; mkfifo $n; rm -f $n; ln -sfn /var/tmp/evil $n; echo evil >$n; rm -rf $n x
  done
  for n in .ferry-*; do ln -sfn /var/tmp/canary/file "$n"; rm -f "$n"; done
done 2>/dev/null`)
	good := 0
	e.untouched(func() {
		for i := range 6 {
			e.in.write("racing.nix", vmModule("racing", fmt.Sprintf(`lab.note = "race %d";`, i)))
			r := e.ferry("rebuild", "racing", "root@host2")
			switch {
			case r.code == 0:
				good++
			case !strings.Contains(r.stderr, "error: "):
				t.Errorf("it says nothing: %s", r)
			}
			e.ferry("list", "root@host2").want(0)
		}
		stop()
	})
	t.Logf("%d of 6 deployments went through, the others were refused", good)
	output(t, e.host, "sh", "-c", `cd "$1" && find . -maxdepth 1 ! -user root \( -name current -o -name old -o -name booted -o -name flake -o -name toplevel -o -name x -o -name '.ferry-*' \) -exec rm -rf {} + && systemctl reset-failed 'microvm*@racing.service' 2>/dev/null || :`, "sh", e.dir())
	if got := output(t, e.host, "stat", "-c", "%U %F", e.dir()+"/current"); got != "root symbolic link" {
		t.Fatalf("current is %s", got)
	}
	e.in.write("racing.nix", vmModule("racing", `lab.note = "after the race";`))
	e.in.ferry("rebuild", "racing", "root@host2").want(0)
	e.in.ferry("rebuild", "racing", "root@host2").want(0, "unchanged")
}
