//go:build lab

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// startBuilder boots the machine that only builds for others, with a new disk.
func startBuilder(t *testing.T) *lab.Machine {
	t.Helper()
	m, err := world.Machine("builder")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Reset(context.WithoutCancel(t.Context())) })
	if err := m.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// has reports whether a machine's store has the path.
func has(t *testing.T, m *lab.Machine, p string) bool {
	t.Helper()
	return output(t, m, "sh", "-c", `nix-store --check-validity "$1" 2>/dev/null && echo yes || echo no`, "sh", p) == "yes"
}

// login is an address of a host, and what else has to be said for it.
type login struct {
	host *lab.Machine
	args []string
}

func rootLogins() []login {
	return []login{
		{world.host1, []string{"root@host1"}}, {world.host1, []string{"deploy@host1", "--host-sudo"}},
		{world.host2, []string{"root@host2"}}, {world.host2, []string{"deploy@host2", "--host-sudo"}},
	}
}

// arrived fails the test unless the runner is on the host, kept there, and
// nothing is left of its way there.
func (v vmOn) arrived(r result.Result) {
	v.t.Helper()
	if v.link("current") != string(r.Runner) {
		v.t.Errorf("current is %s, not %s", v.link("current"), r.Runner)
	}
	collectGarbage(v.t, v.host)
	valid(v.t, v.host, string(r.Runner))
	if left := output(v.t, v.host, "sh", "-c", `ls "$1" 2>/dev/null || :`, "sh", "/nix/var/nix/gcroots/ferry/"+v.name); strings.Contains(left, "pending") {
		v.t.Errorf("roots are left: %s", left)
	}
	if left := output(v.t, world.operator, "sh", "-c", "ls -d /tmp/ferry-build-* 2>/dev/null || :"); left != "" {
		v.t.Errorf("the operator has %s left", left)
	}
}

// What the operator builds itself is copied to the host and installed there.
func TestBuildOnOperator(t *testing.T) {
	for i, l := range rootLogins() {
		t.Run(strings.Join(l.args, " "), func(t *testing.T) {
			name := fmt.Sprintf("here%d", i)
			in := newInfra(t, "", map[string]string{name: vmModule(name)})
			vm := onHost(t, l.host, name)
			args := append([]string{"rebuild", name}, append(l.args, "--build-on", "local")...)
			r := in.deploy(result.OutcomeStarted, args...)
			vm.arrived(r)
			valid(t, world.operator, string(r.Runner))
			if drv := in.op("nix-store", "-q", "--deriver", string(r.Runner)); has(t, l.host, drv) {
				t.Errorf("the host has the derivation %s", drv)
			}
			before := connections(t, l.host)
			in.deploy(result.OutcomeUnchanged, args...)
			if n := connections(t, l.host) - before; n != 1 {
				t.Errorf("a deployment that changes nothing took %d connections", n)
			}
			in.write(name+".nix", vmModule(name, `lab.note = "2";`))
			in.ferry(append(args, "--dry-run")...).want(0, "would build on this machine and copy it to "+l.args[0])
			invocation := vm.invocation()
			vm.arrived(in.deploy(result.OutcomeRestarted, args...))
			if vm.invocation() == invocation {
				t.Error("the unit was not restarted")
			}
		})
	}
}

// A builder of Nix's own: what it builds goes to the host, and the operator's
// store does not get it. The user there needs no trust.
func TestBuildOnBuilder(t *testing.T) {
	builder := startBuilder(t)
	for i, l := range rootLogins() {
		t.Run(strings.Join(l.args, " "), func(t *testing.T) {
			name := fmt.Sprintf("there%d", i)
			in := newInfra(t, "", map[string]string{name: vmModule(name)})
			vm := onHost(t, l.host, name)
			on := []string{"ssh-ng://root@builder", "ssh-ng://deploy@builder"}[i%2]
			args := append([]string{"rebuild", name}, append(l.args, "--build-on", on)...)
			r := in.deploy(result.OutcomeStarted, args...)
			vm.arrived(r)
			valid(t, builder, string(r.Runner))
			if has(t, world.operator, string(r.Runner)) {
				t.Error("the operator has the runner")
			}
			in.deploy(result.OutcomeUnchanged, args...)
		})
	}
}

// Where sudo wants a password, everything goes through ferry's helper.
func TestBuildElsewhereWithPassword(t *testing.T) {
	startBuilder(t)
	for _, h := range []*lab.Machine{world.host1, world.host2} {
		t.Run(h.Name, func(t *testing.T) {
			name, to := "askbuild-"+h.Name, "admin@"+h.Name
			in := newInfra(t, "", map[string]string{name: vmModule(name)})
			vm := onHost(t, h, name)
			in.typing(1, "rebuild", name, to, "--host-sudo", "--build-on", "local").want(0, name+": started on "+to)
			valid(t, h, vm.link("current"))
			in.write(name+".nix", vmModule(name, `lab.note = "2";`))
			in.typing(1, "rebuild", name, to, "--host-sudo", "--build-on", "ssh-ng://root@builder").want(0, "restarted")
			valid(t, h, vm.link("current"))
		})
	}
}

// What the flake says of a VM wins over what it says of its host, and the command
// line over both.
func TestBuildOnFromFlake(t *testing.T) {
	builder := startBuilder(t)
	in := newInfra(t, `{ hosts.h1 = { address = "root@host1"; buildOn = "local"; };
		vms.fleeta.host = "h1"; vms.fleetb = { host = "h1"; buildOn = "ssh-ng://root@builder"; }; vms.fleetc = { host = "h1"; buildOn = "host"; }; }`,
		map[string]string{"fleeta": vmModule("fleeta"), "fleetb": vmModule("fleetb"), "fleetc": vmModule("fleetc")})
	a := string(in.deploy(result.OutcomeStarted, "rebuild", "fleeta").Runner)
	b := string(in.deploy(result.OutcomeStarted, "rebuild", "fleetb").Runner)
	c := string(in.deploy(result.OutcomeStarted, "rebuild", "fleetc").Runner)
	if !has(t, world.operator, a) || has(t, builder, a) {
		t.Error("fleeta was not built on the operator")
	}
	if !has(t, builder, b) || has(t, world.operator, b) {
		t.Error("fleetb was not built on the builder")
	}
	if has(t, world.operator, c) || has(t, builder, c) {
		t.Error("fleetc was not built on its host")
	}
	in.write("fleetb.nix", vmModule("fleetb", `lab.note = "2";`))
	b = string(in.deploy(result.OutcomeRestarted, "rebuild", "fleetb", "--build-on", "host").Runner)
	if has(t, world.operator, b) || has(t, builder, b) {
		t.Error("fleetb was not built on its host")
	}
	in.ferry("rebuild", "fleetb", "--build-on", "host").want(0, "unchanged")
	in.write("fleetb.nix", vmModule("fleetb", `lab.note = "3";`))
	in.ferry("rebuild", "fleetb", "--build-on", "ssh-ng://deploy@host1").want(2, "the builder ssh-ng://deploy@host1 is the host itself", hint+"build there with --build-on host", "nothing was changed")
	in.ferry("rebuild", "fleetb", "--build-on", "ssh-ng://root@unknown-host1").want(1, "the builder: ", "nothing was changed").without("building on")
	in.ferry("rebuild", "fleetb", "--build-on", "builder").want(2, `"builder" is not a place to build`, hint+"one of host, local")
}

// Nix on a host that doesn't trust the user would refuse what was built
// elsewhere, only after it was built and copied.
func TestUntrustedUserIsFoundFirst(t *testing.T) {
	in := newInfra(t, "", map[string]string{"distrust": vmModule("distrust")})
	h := world.host2
	output(t, h, "sh", "-euc", `cp /etc/nix/nix.conf /run/nix.conf; echo 'trusted-users = somebody' >>/etc/nix/nix.conf
echo 'NIX_REMOTE=daemon' >>/etc/environment; systemctl restart nix-daemon`)
	t.Cleanup(func() {
		output2 := context.WithoutCancel(t.Context())
		if _, err := h.Output(output2, "sh", "-euc", `cp /run/nix.conf /etc/nix/nix.conf; sed -i /NIX_REMOTE/d /etc/environment; systemctl restart nix-daemon`); err != nil {
			t.Error(err)
		}
	})
	unchanged(t, func() {
		in.ferry("rebuild", "distrust", "root@host2", "--build-on", "local").
			want(1, "Nix on root@host2 does not trust the user who logs in there", hint+"log in as root or let ferry use sudo", "trusted-users", "nothing was changed").
			without("building on")
		// Who can't become root gets no further than ever.
		in.ferry("rebuild", "distrust", "nosudo@host2", "--build-on", "local").want(1, hint, "nothing was changed").without("building on")
		in.ferry("rebuild", "distrust", "nosudo@host2", "--host-sudo", "--build-on", "local").want(1, hint, "nothing was changed").without("building on")
	})
	onHost(t, h, "distrust").noDirectory()
	// Derivations need no trust.
	in.deploy(result.OutcomeStarted, "rebuild", "distrust", "root@host2")
}

// A build that fails, here and on a builder: as on a host.
func TestFailedBuildElsewhere(t *testing.T) {
	startBuilder(t)
	in := newInfra(t, "", map[string]string{"failing": vmModule("failing", failingBuild("failing"))})
	for _, on := range []string{"local", "ssh-ng://root@builder"} {
		unchanged(t, func() {
			in.ferry("rebuild", "failing", toHost1, "--build-on", on).
				want(1, "error: failing: building /nix/store/", " failed: ", "this is why", "failing: nothing was changed")
		})
	}
}

func failingBuild(name string) string {
	return fmt.Sprintf(`environment.systemPackages = [ (packages.run "fails-%s" { } "echo this is why; exit 3") ];`, name)
}

// The newest Nix everywhere: built here, built on a builder, evaluated on a host.
func TestNewNixBuildsElsewhere(t *testing.T) {
	builder := startBuilder(t)
	withNewNix(t, world.operator, world.host2, builder)
	in := newInfra(t, "", map[string]string{"newplace": vmModule("newplace")})
	vm := onHost(t, world.host2, "newplace")
	args := []string{"rebuild", "newplace", "deploy@host2", "--host-sudo"}
	vm.arrived(in.deploy(result.OutcomeStarted, append(args, "--build-on", "local")...))
	in.write("newplace.nix", vmModule("newplace", `lab.note = "2";`))
	r := in.deploy(result.OutcomeRestarted, append(args, "--build-on", "ssh-ng://deploy@builder")...)
	vm.arrived(r)
	valid(t, builder, string(r.Runner))
	if has(t, world.operator, string(r.Runner)) {
		t.Error("the operator has the runner")
	}
	in.write("newplace.nix", vmModule("newplace", `lab.note = builtins.readFile "${site}/footer.html";`))
	vm.arrived(in.deploy(result.OutcomeRestarted, append(args, "--eval-on", "host", "--override-input", "site", "path:/root/site")...))
	in.deploy(result.OutcomeUnchanged, append(args, "--override-input", "site", "path:/root/site")...)
}
