//go:build lab

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMachines(t *testing.T) {
	before := interfaces(t)
	l := newTestLab(t, 2)
	if after := interfaces(t); !slices.Equal(before, after) {
		t.Errorf("this machine's interfaces changed: %v, before %v", after, before)
	}
	op, host1, host2 := machine(t, l, "operator"), machine(t, l, "host1"), machine(t, l, "host2")

	t.Run("up again changes nothing", func(t *testing.T) {
		first, _ := host1.leader()
		begin := time.Now()
		again, err := Up(t.Context(), Options{Root: l.root})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("second up: %s", time.Since(begin).Round(10*time.Millisecond))
		if now, ok := machine(t, again, "host1").leader(); !ok || now != first {
			t.Errorf("host1 is another container now: %v, before %v", now, first)
		}
		if len(again.Machines()) != len(l.Machines()) {
			t.Errorf("second up without a number of hosts has %d machines, want %d", len(again.Machines()), len(l.Machines()))
		}
	})

	t.Run("one host more", func(t *testing.T) {
		more, err := Up(t.Context(), Options{Root: l.root, Hosts: 3})
		if err != nil {
			t.Fatal(err)
		}
		if got := sh(t, op, "ssh -o BatchMode=yes host3 hostname"); got != "host3" {
			t.Errorf("ssh to the new host: %s", got)
		}
		if err := machine(t, more, "host3").Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})

	t.Run("exec", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		err := host1.Run(t.Context(), Cmd{
			Args: []string{"sh", "-c", `cat; id -un; pwd; echo "$X" >&2; exit 7`}, Env: []string{"X=a b"},
			User: "deploy", Stdin: strings.NewReader("in\n"), Stdout: &stdout, Stderr: &stderr,
		})
		var re *RunError
		if !errors.As(err, &re) || re.ExitCode != 7 || re.Stderr != "a b" {
			t.Errorf("error %#v, want exit status 7 and stderr", err)
		}
		if got := stdout.String(); got != "in\ndeploy\n/home/deploy\n" {
			t.Errorf("stdout %q", got)
		}
		stdout.Reset()
		if err := op.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "test -t 0 && stty size </dev/tty"}, TTY: true, Stdout: &stdout}); err != nil {
			t.Errorf("terminal: %v", err)
		}
		if got := strings.TrimSpace(stdout.String()); got != "40 120" {
			t.Errorf("terminal size %q", got)
		}
	})

	t.Run("a command ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := host1.Run(ctx, Cmd{Args: []string{"sleep", "4711"}}); err == nil {
			t.Error("no error")
		}
		eventually(t, 5*time.Second, "the process ends", func(ctx context.Context) error {
			if out, err := host1.Output(ctx, "pgrep", "-f", "sleep 4711"); err == nil {
				return fmt.Errorf("still runs: %s", out)
			}
			return nil
		})
	})

	t.Run("install", func(t *testing.T) {
		src := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(src, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := host1.Install(t.Context(), src, "/run/a/b", 0o750); err != nil {
			t.Fatal(err)
		}
		if got := sh(t, host1, "stat -c '%a %U' /run/a/b; cat /run/a/b"); got != "750 root\nx" {
			t.Errorf("%q", got)
		}
	})

	t.Run("ssh", func(t *testing.T) {
		for _, to := range []string{"root@host1", "deploy@host1", "admin@host1", "nosudo@host1", "root@host2", "root@guest1", "deploy@guest2"} {
			user, _, _ := strings.Cut(to, "@")
			if got := sh(t, op, "ssh -o BatchMode=yes "+to+" id -un"); got != user {
				t.Errorf("%s: %q", to, got)
			}
		}
		out, err := op.Output(t.Context(), "sh", "-c", "ssh -o BatchMode=yes unknown-host1 true 2>&1")
		if err == nil || !strings.Contains(out, "Host key verification failed") {
			t.Errorf("a host whose key is not pinned: %v %s", err, out)
		}
		count := func() string { return sh(t, host1, "journalctl -u ssh -o cat | grep -c '^Connection from'") }
		before := count()
		sh(t, op, "ssh host1 true")
		eventually(t, 5*time.Second, "one more connection is logged", func(context.Context) error {
			if n := count(); n != fmt.Sprint(atoi(t, before)+1) {
				return fmt.Errorf("%s after %s", n, before)
			}
			return nil
		})
	})

	t.Run("sudo", func(t *testing.T) {
		if got := sh(t, op, "ssh deploy@host1 sudo -n id -un"); got != "root" {
			t.Errorf("deploy: %q", got)
		}
		if got := sh(t, op, "echo "+AdminPassword+" | ssh admin@host1 \"sudo -S -p '' id -un\""); got != "root" {
			t.Errorf("admin: %q", got)
		}
		for _, u := range []string{"admin", "nosudo"} {
			if out, err := op.Output(t.Context(), "ssh", u+"@host1", "sudo", "-n", "true"); err == nil {
				t.Errorf("%s may use sudo without a password: %s", u, out)
			}
		}
	})

	t.Run("nix", func(t *testing.T) {
		build := `nix build --print-out-paths --no-link --impure --expr 'derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${toString builtins.currentTime} > $out" ]; }'`
		for _, m := range []*Machine{op, host1, host2} {
			if out := sh(t, m, build); !strings.HasPrefix(out, "/nix/store/") {
				t.Errorf("%s: %q", m.Name, out)
			}
		}
		if out := sh(t, op, "ssh deploy@host2 nix store info 2>&1"); !strings.Contains(out, "Store URL: daemon") {
			t.Errorf("host2 has no daemon for deploy: %s", out)
		}
		if out, err := op.Output(t.Context(), "ssh", "deploy@host1", build); err == nil {
			t.Errorf("deploy can build on host1, whose store is root's: %s", out)
		}
	})

	t.Run("units", func(t *testing.T) {
		out := sh(t, host1, `systemd-analyze verify /etc/systemd/system/microvm*@.service /etc/systemd/system/microvms.target 2>&1 |
			grep -v 'is not executable: No such file' || true; systemctl is-enabled microvms.target; stat -c '%U:%G %a' /var/lib/microvms`)
		if out != "enabled\nroot:root 755" {
			t.Errorf("%s", out)
		}
	})

	t.Run("old nix", func(t *testing.T) {
		_, restore, err := host1.UseNix(t.Context(), OldNix)
		if err != nil {
			t.Fatal(err)
		}
		if got := sh(t, op, "ssh host1 nix --version"); got != "nix (Nix) 2.8.0" {
			t.Errorf("%q", got)
		}
		if err := restore(); err != nil {
			t.Fatal(err)
		}
		if got := sh(t, op, "ssh host1 nix --version"); !strings.Contains(got, " 2.26.") {
			t.Errorf("after restore: %q", got)
		}
	})

	t.Run("stop, start, kill, reboot", func(t *testing.T) {
		sh(t, host2, "touch /root/kept")
		for _, end := range []func(context.Context) error{host2.Stop, host2.Kill} {
			if err := end(t.Context()); err != nil {
				t.Fatal(err)
			}
			if host2.Running() {
				t.Fatal("host2 still runs")
			}
			if err := host2.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		boot := sh(t, host2, "cat /proc/sys/kernel/random/boot_id")
		begin := time.Now()
		if err := host2.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("reboot: %s", time.Since(begin).Round(10*time.Millisecond))
		if got := sh(t, op, "ssh host2 'ls /root/kept; cat /proc/sys/kernel/random/boot_id'"); !strings.HasPrefix(got, "/root/kept\n") || strings.Contains(got, boot) {
			t.Errorf("after a reboot: %q; boot id before %s", got, boot)
		}
	})

	t.Run("the flake is committed and locked", func(t *testing.T) {
		if out := sh(t, op, "cd infra && nix flake metadata --json --no-update-lock-file >/dev/null && git status --porcelain"); out != "" {
			t.Errorf("not clean: %s", out)
		}
		if err := l.EditFlake("vms/web.nix", `"Hello"`, `"Other"`); err != nil {
			t.Fatal(err)
		}
		if err := l.EditFlake("vms/web.nix", `"not there"`, ""); err == nil {
			t.Error("replacing what is not there: no error")
		}
		if err := l.ResetFlake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if out := sh(t, op, "cd infra && git status --porcelain"); out != "" {
			t.Errorf("not reset: %s", out)
		}
	})
}
