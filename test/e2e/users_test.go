//go:build lab

package e2e

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// A user whose sudo wants no password, on hosts of either kind: create, restart,
// unchanged.
func TestSudoWithoutPasswordCreatesAndRestarts(t *testing.T) {
	for _, h := range []*lab.Machine{world.host1, world.host2} {
		t.Run(h.Name, func(t *testing.T) {
			name, to := "sudo-"+h.Name, "deploy@"+h.Name
			in := newInfra(t, "", map[string]string{name: vmModule(name)})
			vm := onHost(t, h, name)
			in.deploy(result.OutcomeStarted, "rebuild", name, to, "--host-sudo")
			in.write(name+".nix", vmModule(name, `lab.note = "2";`))
			invocation := vm.invocation()
			in.deploy(result.OutcomeRestarted, "rebuild", name, to, "--use-remote-sudo")
			if vm.invocation() == invocation {
				t.Error("the unit was not restarted")
			}
			in.deploy(result.OutcomeUnchanged, "install", name, to, "--use-remote-sudo")
		})
	}
}

func TestLiveSwitchWithSudo(t *testing.T) {
	in, vm := newLive(t, "sudolive")
	in.write("sudolive.nix", liveModule("sudolive", "second"))
	b := in.deploy(result.OutcomeSwitched, "rebuild", "sudolive", "deploy@host1", "deploy@box", "--use-remote-sudo")
	if got := runningSystem(t, world.guest1); got != string(b.System) || vm.link("current") != string(b.Runner) {
		t.Errorf("the guest runs %s", got)
	}
}

// A user whose sudo asks: on a terminal that works, for everything, and each
// machine's password is asked for once. It never shows up anywhere.
// nix-community/colmena#120, serokell/deploy-rs#78
func TestSudoPasswordIsAskedOnceAndPassedOn(t *testing.T) {
	for _, h := range []*lab.Machine{world.host1, world.host2} {
		t.Run(h.Name, func(t *testing.T) {
			name, to := "ask-"+h.Name, "admin@"+h.Name
			in := newInfra(t, "", map[string]string{name: vmModule(name)})
			vm := onHost(t, h, name)
			secret := watchForPassword(t, h)
			in.typing(1, "rebuild", name, to, "--host-sudo").want(0, name+": started on "+to)
			in.write(name+".nix", vmModule(name, `lab.note = "2";`))
			invocation := vm.invocation()
			in.typing(1, "rebuild", name, to, "--use-remote-sudo").want(0, "restarted")
			if vm.invocation() == invocation {
				t.Error("the unit was not restarted")
			}
			secret()
		})
	}
	t.Run("live", func(t *testing.T) {
		in, vm := newLive(t, "asklive")
		in.write("asklive.nix", liveModule("asklive", "second"))
		secret := watchForPassword(t, world.guest1)
		in.typing(2, "rebuild", "asklive", "admin@host1", "admin@box", "--use-remote-sudo").want(0, "switched live on admin@host1")
		secret()
		in.ferry("rebuild", "asklive").want(0, "unchanged")
		if vm.link("booted") == vm.link("current") {
			t.Error("nothing was installed")
		}
	})
}

// nix-community/colmena#120, serokell/deploy-rs#78
func TestWrongSudoPasswordChangesNothing(t *testing.T) {
	in := newInfra(t, "", map[string]string{"wrongpw": vmModule("wrongpw")})
	unchanged(t, func() {
		// Without a terminal: at once, with the way out.
		in.ferryWith(lab.Cmd{Args: []string{"setsid", "--wait"}}, "rebuild", "wrongpw", "admin@host1", "--host-sudo").
			want(1, "sudo wants a password, and there is no terminal to ask for it", hint+"run ferry on a terminal", "nothing was changed")
		r := in.typed("not the password", "rebuild", "wrongpw", "admin@host1", "--host-sudo").
			want(1, "sudo did not accept the password", hint, "nothing was changed")
		if n := strings.Count(r.stdout, "Password for sudo"); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
	onHost(t, world.host1, "wrongpw").noDirectory()
}

// Ctrl-C instead of a password ends ferry, and the terminal is as before.
// nix-community/colmena#120, serokell/deploy-rs#78
func TestCtrlCAtThePasswordEndsFerry(t *testing.T) {
	in := newInfra(t, "", map[string]string{"ctrlcpw": vmModule("ctrlcpw")})
	keys, keyboard := io.Pipe()
	defer keyboard.Close()
	person := &person{types: "\x03", keyboard: keyboard}
	ctx, cancel := lab.WithPatience(t.Context(), 30*time.Second)
	defer cancel()
	unchanged(t, func() {
		in.ferryContext(ctx, lab.Cmd{TTY: true, Stdin: keys, Stdout: person, Args: []string{
			"setsid", "--ctty", "--wait", "sh", "-c", `trap : INT; "$@"; code=$?; stty -a; exit $code`, "sh"}},
			"rebuild", "ctrlcpw", "admin@host1", "--host-sudo").want(130, "interrupted", "nothing was changed", " echo ").without(" -echo ")
	})
}

// typing runs ferry on a terminal and gives the right password, which must be
// asked for that often and not be shown.
func (in *infra) typing(asked int, args ...string) *ran {
	in.t.Helper()
	r := in.typed(lab.AdminPassword, args...)
	if n := strings.Count(r.stdout, "Password for sudo on "); n != asked {
		in.t.Errorf("asked %d times: %s", n, r)
	}
	return r.without(lab.AdminPassword)
}

// typed runs ferry on a terminal of its own and types the password whenever it
// is asked for.
func (in *infra) typed(password string, args ...string) *ran {
	in.t.Helper()
	keys, keyboard := io.Pipe()
	defer keyboard.Close()
	person := &person{types: password + "\r", keyboard: keyboard}
	return in.ferryWith(lab.Cmd{TTY: true, Stdin: keys, Stdout: person}, args...)
}

// person reads a terminal and answers its questions.
type person struct {
	types    string
	keyboard io.Writer
	screen   bytes.Buffer
	answered int
}

func (p *person) Write(b []byte) (int, error) {
	p.screen.Write(b)
	for asked := strings.Count(p.screen.String(), "Password for sudo on "); p.answered < asked; p.answered++ {
		go func() { _, _ = io.WriteString(p.keyboard, p.types) }()
	}
	return len(b), nil
}

// watchForPassword looks, over and over, at the command lines and environments
// of all processes of the operator and another machine; the returned function
// ends that and looks at the files as well.
func watchForPassword(t *testing.T, m *lab.Machine) (end func()) {
	t.Helper()
	// What the pattern is must not stand in the watcher's own command line.
	pattern := "[" + lab.AdminPassword[:1] + "]" + lab.AdminPassword[1:]
	machines := []*lab.Machine{m, world.operator}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	var watchers sync.WaitGroup
	seen := make([]bytes.Buffer, len(machines))
	for i, m := range machines {
		watchers.Go(func() {
			_ = m.Run(ctx, lab.Cmd{Stdout: &seen[i], Args: []string{"sh", "-c", `while :; do
  cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -a -- "$1"
  sleep 0.01
done`, "sh", pattern}})
		})
	}
	return func() {
		t.Helper()
		// It would have been seen: now it is there, for a moment.
		for _, m := range machines {
			output(t, m, "sh", "-c", "sleep 1", lab.AdminPassword+"-control")
		}
		stop()
		watchers.Wait()
		for i, m := range machines {
			lines := slices.DeleteFunc(strings.Fields(seen[i].String()), func(l string) bool { return strings.HasSuffix(l, "-control") })
			if !strings.Contains(seen[i].String(), "-control") || len(lines) > 0 {
				t.Errorf("%s: processes with the password: %q (the control must be seen, nothing else)", m.Name, seen[i].String())
			}
			if files := output(t, m, "sh", "-c", `grep -rlsa -- "$1" /var/lib/ferry /home /root/.cache /root/.ssh /root/t /tmp /run/ferry /var/lib/microvms 2>/dev/null
journalctl -q --no-pager | grep -a -- "$1" || :`, "sh", pattern); files != "" {
				t.Errorf("%s: the password is in: %s", m.Name, files)
			}
		}
	}
}
