//go:build lab

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// bareHost boots the machine that nobody has set up, with a new disk.
func bareHost(t *testing.T) *lab.Machine {
	t.Helper()
	m, err := world.Machine("bare")
	if err != nil {
		t.Fatal(err)
	}
	reset := func() {
		if err := m.Reset(t.Context()); err != nil {
			t.Error(err)
		}
	}
	reset()
	t.Cleanup(func() { _ = m.Reset(context.WithoutCancel(t.Context())) })
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// everything lists the machine's files: path, type, mode, owner, and where a
// link leads or what a file holds. What systemd and Nix keep for themselves is
// left out.
func everything(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	list := output(t, m, "sh", "-c", `cd / && find . -xdev \
  \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./srv -o -path ./var/log -o -path ./var/lib/systemd \
     -o -path ./var/tmp -o -path ./var/cache -o -path ./nix/var/nix/db \) -prune -o -printf '%p %M %u:%g %l\n' &&
  find ./etc ./usr/local -xdev -type f -exec sha256sum -- {} +`)
	// Backups that the tools for accounts make, and what Nix makes when it is
	// used for the first time.
	ignored := regexp.MustCompile(`\./etc/(passwd-|group-|shadow-|gshadow-|subuid-|subgid-|\.pwd\.lock)( |$)|` +
		`\./nix/(store/\.links|var/log|var/nix/(gc-socket|gc\.lock|temproots|gcroots/auto|(gcroots|profiles)/per-user))|\./root/\.(nix-defexpr|cache)`)
	lines := slices.DeleteFunc(strings.Split(list, "\n"), ignored.MatchString)
	slices.Sort(lines)
	return lines
}

// differences are the lines of only one of the lists.
func differences(before, after []string) string {
	var b strings.Builder
	for _, l := range before {
		if _, found := slices.BinarySearch(after, l); !found {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	for _, l := range after {
		if _, found := slices.BinarySearch(before, l); !found {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	return b.String()
}

// The whole life of a host: a bare Debian is set up, takes its first deployment,
// starts the VM by itself after a reboot, and is as it was when all is removed.
// The reboot does not undo the update (microvm-nix/microvm.nix#94, #53), nothing is
// left (#67, #181, #302, #508), the host doesn't run NixOS (#169), and nothing was
// rebuilt for the VM to start by itself (#389).
func TestBareDebianBecomesAHostAndIsBareAgain(t *testing.T) {
	in := newInfra(t, `{ hosts.bare.address = "root@bare"; vms.setup.host = "bare"; }`, map[string]string{"setup": vmModule("setup")})
	bare := bareHost(t)
	vm := onHost(t, bare, "setup")
	before := everything(t, bare)

	in.ferry("rebuild", "setup").want(1, "no microvm@.service", "ferry host setup")
	output(t, bare, "rm", "-rf", "/var/lib/ferry") // the refused deployment's helper

	in.ferry("host", "setup", "deploy@bare").want(1, "the login is not root's", hint)
	in.ferry("host", "setup", "nosudo@bare", "--host-sudo").want(1, hint)
	in.ferry("host", "setup", "bare", "--remove", "--dry-run").want(0, "nothing to do: not set up by ferry")
	output(t, bare, "mv", "/usr/bin/nix", "/usr/bin/nix.off")
	in.ferry("host", "setup", "bare", "--dry-run").want(1, "nix was not found", hint+"install Nix on the host")
	output(t, bare, "mv", "/usr/bin/nix.off", "/usr/bin/nix")
	output(t, bare, "touch", "/etc/NIXOS")
	in.ferry("host", "setup", "bare", "--dry-run").want(1, "bare runs NixOS", "microvm.nixosModules.host")
	output(t, bare, "rm", "/etc/NIXOS")

	in.ferry("host", "setup", "bare", "--dry-run").want(0, "create user microvm", "create directory /var/lib/microvms",
		"create file /etc/systemd/system/microvm@.service", "+ExecStart=/var/lib/microvms/%i/booted/bin/microvm-run")
	in.ferry("doctor", "bare").want(1, "host bare: units: there is no microvm@.service", "→ ferry host setup bare", "host bare: users: ")
	if diff := differences(before, everything(t, bare)); diff != "" {
		t.Fatalf("a dry run, or ferry doctor, changed:\n%s", diff)
	}
	in.ferry("host", "setup", "bare").want(0, "set up as a host of MicroVMs", "created user microvm")
	in.ferry("doctor", "bare").want(0, "no problem found")
	in.ferry("host", "setup", "deploy@bare", "--host-sudo").want(0, "nothing to do")
	if got := output(t, bare, "stat", "-c", "%U:%G %a", "/var/lib/microvms"); got != "root:root 755" {
		t.Errorf("the state directory is %s", got)
	}

	for _, line := range []string{"ferry version", "ferry-helper --version", "ferry host --version", "ferry-helper host --version"} {
		_, ours, _ := strings.Cut(in.ferry("version").want(0).stdout, " ")
		if _, theirs, _ := strings.Cut(output(t, bare, strings.Fields(line)...)+"\n", " "); theirs != ours {
			t.Errorf("%s on the host says %q, the operator's %q", line, theirs, ours)
		}
	}
	if got := output(t, bare, "readlink", "/usr/local/bin/microvm"); got != "ferry-helper" {
		t.Errorf("microvm is %s", got)
	}

	in.deploy(result.OutcomeStarted, "rebuild", "setup")
	in.write("setup.nix", vmModule("setup", `lab.note = "2";`))
	in.deploy(result.OutcomeRestarted, "rebuild", "setup")
	updated := vm.link("current")
	in.ferry("autostart", "setup", "on").want(0, "setup: starts with bare")
	in.ferry("autostart", "setup", "on").want(0, "as before")
	if err := bare.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if vm.property("ActiveState") != "active" || vm.link("current") != updated || vm.link("booted") != updated {
		t.Errorf("after the reboot: %s, current %s, booted %s, want %s", vm.property("ActiveState"), vm.link("current"), vm.link("booted"), updated)
	}
	in.ferry("rebuild", "setup").want(0, "unchanged")

	in.ferry("autostart", "setup", "off").want(0, "setup: does not start with bare")
	if err := bare.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := vm.property("ActiveState"); got != "inactive" {
		t.Errorf("without autostart it is %s after a reboot", got)
	}
	in.ferry("autostart", "setup", "on").want(0)

	in.ferry("host", "setup", "bare", "--remove").want(1, "there are VMs on this host: setup", hint+"remove them first")
	in.ferry("remove", "setup", "--yes").want(0)
	in.ferry("host", "setup", "bare", "--remove", "--dry-run").want(0, "remove user microvm")
	in.ferry("host", "setup", "bare", "--remove").want(0, "setup undone", "removed user microvm")
	collectGarbage(t, bare)
	if diff := differences(before, everything(t, bare)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
	if got := output(t, bare, "systemctl", "list-units", "--all", "--no-legend", "microvm*"); got != "" {
		t.Errorf("systemd still has %s", got)
	}
	in.ferry("host", "setup", "bare", "--remove").want(0, "nothing to do")
}

// An operator whose ferry can't go to the host brings the helper alone, and hears
// what is missing. A later setup by a whole ferry adds it.
func TestSetupWithoutFerryItself(t *testing.T) {
	const plain = "/run/plain-ferry"
	dir := t.TempDir()
	for _, name := range []string{"ferry", "ferry-helper"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/"+name, "ferry/cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := world.operator.Install(t.Context(), dir+"/"+name, plain+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = world.operator.Output(context.Background(), "rm", "-rf", plain) })
	in := newInfra(t, "", map[string]string{"alone": vmModule("alone")})
	bare := bareHost(t)
	with := lab.Cmd{Args: []string{"env", "PATH=" + plain + ":/usr/bin:/bin"}}

	in.ferryWith(with, "host", "setup", "root@bare").want(0, "created file /usr/local/bin/ferry-helper", "ferry itself is not installed").
		without("created file /usr/local/bin/ferry\n")
	output(t, bare, "mkdir", "-p", "/var/lib/ferry/vms") // what the unit waits for
	output(t, bare, "systemctl", "start", "ferry-settle.service")
	output(t, bare, "microvm", "-l")
	in.ferryWith(with, "host", "timer", "update", "root@bare", "--on-calendar", "daily", "--from-flake").want(1, "/usr/local/bin/ferry, which is not there", hint)

	// Without the helper beside it that ferry serves no host.
	output(t, world.operator, "rm", plain+"/ferry-helper")
	output(t, bare, "rm", "-rf", "/var/lib/ferry/bin")
	in.ferryWith(with, "list", "root@bare").want(1, "this ferry has no helper for linux/", hint+"`make build`")

	in.ferry("host", "setup", "root@bare").want(0, "created file /usr/local/bin/ferry\n").without("ferry itself")
}
