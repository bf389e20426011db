//go:build lab

package lab

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// install puts a VM of the lab flake on host1 as an administrator would by
// hand: evaluate, copy the derivations, build, link, start. It returns the
// system inside.
func install(t *testing.T, l *Lab, vm string) (system string) {
	t.Helper()
	out := sh(t, machine(t, l, "operator"), `cd /root/infra
drv=$(nix eval --raw .#nixosConfigurations.`+vm+`.config.microvm.declaredRunner.drvPath)
nix copy --no-check-sigs --to ssh-ng://host1 --derivation "$drv^out" 2>/dev/null
ssh host1 "set -eu; install -d -m 1775 -g kvm /var/lib/microvms/`+vm+`; cd /var/lib/microvms/`+vm+`
mkdir -p /nix/var/nix/gcroots/microvm; ln -sfT \$PWD/current /nix/var/nix/gcroots/microvm/`+vm+`
ln -sfT \$(nix build --no-link --print-out-paths $drv^out) current
systemctl start microvm@`+vm+`; readlink -f current/share/microvm/system"`)
	if !strings.HasPrefix(out, "/nix/store/") {
		t.Fatalf("installing %s: %s", vm, out)
	}
	return out
}

func TestGuests(t *testing.T) {
	l := newTestLab(t, 1)
	op, host1 := machine(t, l, "operator"), machine(t, l, "host1")

	t.Run("container guest", func(t *testing.T) {
		first := install(t, l, "box")
		begin := time.Now()
		if err := l.BootGuest(t.Context(), "guest1", first); err != nil {
			t.Fatal(err)
		}
		t.Logf("boot of a container guest: %s", time.Since(begin).Round(10*time.Millisecond))
		state := "cat /etc/hostname; readlink /run/booted-system; readlink /run/current-system"
		if got := sh(t, op, "ssh box '"+state+"'"); got != "box\n"+first+"\n"+first {
			t.Errorf("booted: %s", got)
		}
		if got := sh(t, op, "curl -sS http://box/"); !strings.Contains(got, "<h1>Box</h1>") {
			t.Errorf("page: %s", got)
		}
		boot := sh(t, op, "ssh box cat /proc/sys/kernel/random/boot_id")

		if err := l.EditFlake("vms/box.nix", `"Box"`, `"New"`); err != nil {
			t.Fatal(err)
		}
		second := install(t, l, "box")
		// The host's new paths are in the guest at once; its database has none.
		sh(t, op, "ssh box "+second+"/bin/switch-to-configuration dry-activate")
		if got := sh(t, op, "ssh box readlink /run/current-system"); got != first {
			t.Errorf("dry-activate switched to %s", got)
		}
		registration := sh(t, host1, "sed -n 's|.*regInfo=\\([^ ]*/registration\\).*|\\1|p' /var/lib/microvms/box/current/bin/microvm-run")
		sh(t, op, fmt.Sprintf(`ssh box 'set -e; %[1]s/sw/bin/nix-store --load-db <%[2]s
			%[1]s/sw/bin/nix-env -p /nix/var/nix/profiles/system --set %[1]s; %[1]s/bin/switch-to-configuration switch'`, second, registration))
		if got := sh(t, op, "ssh box '"+state+"; cat /proc/sys/kernel/random/boot_id'"); got != "box\n"+first+"\n"+second+"\n"+boot {
			t.Errorf("switched: %s", got)
		}
		if got := sh(t, op, "curl -sS http://box/"); !strings.Contains(got, "<h1>New</h1>") {
			t.Errorf("page: %s", got)
		}
	})

	t.Run("a failing unit gives status 4", func(t *testing.T) {
		if err := l.EditFlake("vms/box.nix", "services.page.enable = true;", "services.page.enable = true; lab.failingUnit = true;"); err != nil {
			t.Fatal(err)
		}
		failing := install(t, l, "box")
		out := sh(t, op, "ssh box '"+failing+"/bin/switch-to-configuration test' 2>&1 || echo status $?")
		if !strings.Contains(out, "the following units failed: failing.service") || !strings.HasSuffix(out, "status 4") {
			t.Errorf("%s", out)
		}
	})

	t.Run("after a crash what runs is booted", func(t *testing.T) {
		install(t, l, "cron")
		before := sh(t, host1, "readlink /var/lib/microvms/cron/booted")
		// Another runner is installed, then the hypervisor dies.
		if err := l.EditFlake("vms/cron.nix", "microvm.mem = 256;", "microvm.mem = 300;"); err != nil {
			t.Fatal(err)
		}
		install(t, l, "cron")
		if got := sh(t, host1, "readlink /var/lib/microvms/cron/booted"); got != before {
			t.Fatalf("an install moved booted to %s", got)
		}
		pid := sh(t, host1, "systemctl show -p MainPID --value microvm@cron")
		sh(t, host1, "kill -9 "+pid)
		eventually(t, 30*time.Second, "systemd starts it again", func(ctx context.Context) error {
			now, err := host1.Output(ctx, "systemctl", "show", "-p", "MainPID", "--value", "microvm@cron")
			if err != nil || now == pid || now == "0" {
				return fmt.Errorf("main process %s (%v)", now, err)
			}
			return nil
		})
		got := sh(t, host1, `cd /var/lib/microvms/cron; [ "$(readlink booted)" = "$(readlink current)" ] && echo same
tr '\0' ' ' </proc/$(systemctl show -p MainPID --value microvm@cron)/cmdline | grep -o -- '-m [0-9]*M'`)
		if got != "same\n-m 300M" {
			t.Errorf("%s", got)
		}
	})

	t.Run("a runner that is not root's is not started", func(t *testing.T) {
		sh(t, host1, "systemctl stop microvm@cron; chown -h microvm /var/lib/microvms/cron/current")
		if out, err := host1.Output(t.Context(), "systemctl", "start", "microvm@cron"); err == nil {
			t.Errorf("it was started: %s", out)
		}
		if got := sh(t, host1, "journalctl -u microvm-set-booted@cron -o cat -n 5"); !strings.Contains(got, "not to root") {
			t.Errorf("the journal does not say why: %s", got)
		}
	})

	t.Run("QEMU guest with 9p", func(t *testing.T) { bootsAndShutsDown(t, l, "web", "Hello") })
	t.Run("QEMU guest with virtiofs", func(t *testing.T) { bootsAndShutsDown(t, l, "files", "Files") })
}

func bootsAndShutsDown(t *testing.T, l *Lab, vm, page string) {
	op, host1 := machine(t, l, "operator"), machine(t, l, "host1")
	begin := time.Now()
	system := install(t, l, vm)
	t.Logf("evaluated, copied, built, started: %s", time.Since(begin).Round(10*time.Millisecond))
	begin = time.Now()
	eventually(t, 3*time.Minute, "SSH", func(ctx context.Context) error {
		_, err := op.Output(ctx, "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", "root@"+vm, "true")
		return err
	})
	// The processor time tells more than the clock where others use the machine.
	t.Logf("SSH answers: %s; processor time of QEMU: %s s", time.Since(begin).Round(100*time.Millisecond),
		sh(t, host1, "ps -o cputimes= -p $(systemctl show -p MainPID --value microvm@"+vm+")"))
	got := sh(t, op, "ssh root@"+vm+" 'cat /etc/hostname; readlink /run/booted-system; readlink /run/current-system; nix-store -q --references /run/current-system | wc -l'")
	f := strings.Fields(got)
	if len(f) != 4 || f[0] != vm || f[1] != system || f[2] != system || atoi(t, f[3]) == 0 {
		t.Errorf("booted: %s, want %s with its registration", got, system)
	}
	eventually(t, time.Minute, "the page", func(ctx context.Context) error {
		out, err := op.Output(ctx, "curl", "-sS", "-m", "5", "http://"+vm+"/")
		if err == nil && !strings.Contains(out, "<h1>"+page+"</h1>") {
			err = fmt.Errorf("another page: %s", out)
		}
		return err
	})
	if got := sh(t, op, "ssh deploy@"+vm+" sudo -n id -un"); got != "root" {
		t.Errorf("sudo in the guest: %s", got)
	}

	begin = time.Now()
	sh(t, host1, "systemctl stop microvm@"+vm)
	t.Logf("stop: %s", time.Since(begin).Round(100*time.Millisecond))
	log := sh(t, host1, "journalctl -a -o cat -u microvm@"+vm+" -n 30")
	if !strings.Contains(log, "reboot: Restarting system") || strings.Contains(log, "Killing") || strings.Contains(log, "timed out") {
		t.Errorf("the guest did not shut down by itself:\n%s", log)
	}
	eventually(t, 10*time.Second, "booted and taps go", func(ctx context.Context) error {
		out, err := host1.Output(ctx, "sh", "-c", "ls /var/lib/microvms/"+vm+"/booted /sys/class/net/vm-"+vm+" 2>/dev/null")
		if out != "" {
			return fmt.Errorf("still there: %s", out)
		}
		_ = err // ls fails where they are gone, as wanted
		return nil
	})
}
