//go:build lab

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
)

const toHost1 = "root@host1"

// A new VM, an update and a run without a change, on hosts with either kind of
// store: the on-disk contract.
func TestCreateUpdateUnchanged(t *testing.T) {
	for _, h := range []string{"host1", "host2"} {
		t.Run(h, func(t *testing.T) {
			vmName := "life-" + h
			in := newInfra(t, "", map[string]string{vmName: vmModule(vmName)})
			m, err := world.Machine(h)
			if err != nil {
				t.Fatal(err)
			}
			vm := onHost(t, m, vmName)

			first := in.deploy(result.OutcomeStarted, "rebuild", vmName, "root@"+h)
			if vm.link("current") != string(first.Runner) || vm.link("booted") != string(first.Runner) {
				t.Fatalf("current %s, booted %s, wanted %s", vm.link("current"), vm.link("booted"), first.Runner)
			}
			if vm.property("ActiveState") != "active" {
				t.Fatal("the new VM does not run")
			}
			for link, root := range map[string]string{"current": vmName, "booted": "booted-" + vmName, "old": "old-" + vmName} {
				if got := vm.root("microvm/" + root); got != vm.dir()+"/"+link {
					t.Errorf("GC root %s points to %q", root, got)
				}
			}
			if got := output(t, m, "stat", "-c", "%U:%G %a", vm.dir()); got != "root:kvm 1775" {
				t.Errorf("the VM's directory is %s", got)
			}
			if got := output(t, m, "readlink", "-f", "/nix/var/nix/profiles/ferry/"+vmName+"/runner"); got != string(first.Runner) {
				t.Errorf("generation 1 is %s", got)
			}

			in.write(vmName+".nix", vmModule(vmName, `lab.note = "two";`))
			invocation := vm.invocation()
			second := in.deploy(result.OutcomeRestarted, "rebuild", vmName, "root@"+h)
			if vm.link("current") != string(second.Runner) || vm.link("old") != string(first.Runner) || vm.link("booted") != string(second.Runner) {
				t.Fatalf("current %s, old %s, booted %s", vm.link("current"), vm.link("old"), vm.link("booted"))
			}
			if vm.invocation() == invocation {
				t.Fatal("the VM was not restarted")
			}
			if second.Generation != 2 || !second.ConfigurationOnly {
				t.Errorf("generation %d, configuration only %v", second.Generation, second.ConfigurationOnly)
			}

			invocation = vm.invocation()
			in.deploy(result.OutcomeUnchanged, "rebuild", vmName, "root@"+h)
			if vm.invocation() != invocation {
				t.Fatal("a run without a change restarted the VM")
			}
			collectGarbage(t, m)
			valid(t, m, string(first.Runner))
			valid(t, m, string(second.Runner))
		})
	}
}

// A run that changes nothing restarts nothing, keeps the way back,
// and costs one connection, no evaluation and no Nix process on the host.
func TestNoChangeCostsOneConnection(t *testing.T) {
	in := newInfra(t, "", map[string]string{"idle": vmModule("idle")})
	vm := onHost(t, world.host1, "idle")
	in.deploy(result.OutcomeStarted, "rebuild", "idle", toHost1)
	in.write("idle.nix", vmModule("idle", `lab.note = "two";`))
	in.deploy(result.OutcomeRestarted, "rebuild", "idle", toHost1)
	in.op("sh", "-c", "cd "+in.dir+" && git commit -qam two")
	in.ferry("rebuild", "idle", toHost1).want(0, "unchanged")

	old, current, invocation := vm.link("old"), vm.link("current"), vm.invocation()
	undoHost := spyOnNix(t, world.host1)
	undoOperator := spyOnNix(t, world.operator)
	// Nix's settings name its own program, which the spy has moved: the cache
	// rightly takes that for a change, once.
	in.ferry("rebuild", "idle", toHost1).want(0, "idle: unchanged on root@host1")
	in.op("rm", "/run/nix-spy")
	before := connections(t, world.host1)
	in.ferry("rebuild", "idle", toHost1).want(0, "idle: unchanged on root@host1")
	in.ferry("install", "idle", toHost1).want(0, "idle: unchanged")
	if got := connections(t, world.host1) - before; got != 2 {
		t.Errorf("two runs without a change made %d connections", got)
	}
	if calls := undoHost(); calls != "" {
		t.Errorf("Nix ran on the host:\n%s", calls)
	}
	if calls := undoOperator(); strings.Contains(calls, "eval") || !strings.Contains(calls, "flake metadata") {
		t.Errorf("an evaluation ran on the operator, or the spy saw nothing:\n%s", calls)
	}
	if vm.invocation() != invocation || vm.link("old") != old || vm.link("current") != current {
		t.Errorf("something moved: old %s, current %s", vm.link("old"), vm.link("current"))
	}
}

// The reported closure difference names packages; where there is none, this
// is said.
func TestClosureDifferenceIsReported(t *testing.T) {
	pkg := func(v string) string {
		return fmt.Sprintf(`environment.systemPackages = [ (packages.package "hello" %q) ];`, v)
	}
	in := newInfra(t, "", map[string]string{"diff": vmModule("diff", pkg("1.0"))})
	in.deploy(result.OutcomeStarted, "rebuild", "diff", toHost1)
	in.write("diff.nix", vmModule("diff", pkg("1.1")))
	res := in.deploy(result.OutcomeRestarted, "rebuild", "diff", toHost1)
	if !slices.ContainsFunc(res.Changes, func(l string) bool {
		return strings.Contains(l, "hello") && strings.Contains(l, "1.0") && strings.Contains(l, "1.1")
	}) || res.ConfigurationOnly {
		t.Errorf("changes: %q, configuration only: %v", res.Changes, res.ConfigurationOnly)
	}
	in.write("diff.nix", vmModule("diff", pkg("1.1"), `lab.note = "x";`))
	in.ferry("rebuild", "diff", toHost1).want(0, "configuration only: no package changed")
}

// --override-input means a place on the operator's machine: it takes effect though
// the host builds.
func TestOverrideInputTakesEffect(t *testing.T) {
	in := newInfra(t, "", map[string]string{"over": vmModule("over", `services.page.enable = true;`,
		`services.page.footer = builtins.readFile "${site}/footer.html";`)})
	vm := onHost(t, world.host1, "over")
	in.deploy(result.OutcomeStarted, "rebuild", "over", toHost1)
	page := func() string {
		return output(t, world.host1, "sh", "-c",
			"cat $(nix-store -qR $(readlink "+vm.dir()+"/current/share/microvm/system) | grep -- -www$)/index.html")
	}
	if strings.Contains(page(), "only on the laptop") {
		t.Fatal("the page has the text before the override")
	}
	in.op("sh", "-c", "mkdir -p /root/site2 && echo '<p>only on the laptop</p>' >/root/site2/footer.html")
	in.deploy(result.OutcomeRestarted, "rebuild", "over", toHost1, "--override-input", "site", "path:/root/site2")
	if !strings.Contains(page(), "only on the laptop") {
		t.Errorf("the override did not reach the host: %s", page())
	}
	if got := output(t, world.host1, "sh", "-c", "ls -d /root/site2 2>&1 || :"); !strings.Contains(got, "No such file") {
		t.Errorf("the input is on the host: %s", got)
	}
}

// The addresses of the `ferry` output; `local` is covered by TestLocalHost.
func TestAddressesFromTheFlake(t *testing.T) {
	in := newInfra(t, `{
      hosts.one.address = "root@host1";
      vms.addr = { host = "one"; updateFlake = "git+https://git.example.org/infra?ref=flake-update"; };
    }`, map[string]string{"addr": vmModule("addr")})
	in.deploy(result.OutcomeStarted, "rebuild", "addr")
	vm := onHost(t, world.host1, "addr")
	if got := output(t, world.host1, "cat", vm.dir()+"/flake"); got != "git+https://git.example.org/infra?ref=flake-update" {
		t.Errorf("the flake file has %q", got)
	}
	// The command line wins.
	in.deploy(result.OutcomeUnchanged, "rebuild", "addr", "--update-flake", "git+https://git.example.org/infra?ref=flake-update")
	in.ferry("rebuild", "addr", "--update-flake", "github:example/infra").want(0)
	if got := output(t, world.host1, "cat", vm.dir()+"/flake"); got != "github:example/infra" {
		t.Errorf("the flake file has %q", got)
	}
}

// Without an update flake no `flake` file is made, an existing one stays.
func TestFlakeFileIsOnlyWrittenOnRequest(t *testing.T) {
	in := newInfra(t, "", map[string]string{"noflake": vmModule("noflake")})
	vm := onHost(t, world.host1, "noflake")
	in.deploy(result.OutcomeStarted, "rebuild", "noflake", toHost1)
	if got := output(t, world.host1, "sh", "-c", "ls "+vm.dir()+"/flake 2>&1 || :"); !strings.Contains(got, "No such file") {
		t.Errorf("a flake file appeared: %s", got)
	}
	in.ferry("rebuild", "noflake", toHost1, "--update-flake", "/root/infra").want(2, "--update-flake")
	in.ferry("rebuild", "noflake", toHost1, "--update-flake", "git+https://git.example.org/infra").want(0)
	in.write("noflake.nix", vmModule("noflake", `lab.note = "2";`))
	in.deploy(result.OutcomeRestarted, "rebuild", "noflake", toHost1)
	if got := output(t, world.host1, "cat", vm.dir()+"/flake"); got != "git+https://git.example.org/infra" {
		t.Errorf("the flake file has %q", got)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	in := newInfra(t, "", map[string]string{"dry": vmModule("dry"), "drynew": vmModule("drynew")})
	in.deploy(result.OutcomeStarted, "rebuild", "dry", toHost1)
	in.write("dry.nix", vmModule("dry", `lab.note = "2";`, `microvm.vcpu = 2;`))
	state := func() string {
		return output(t, world.host1, "sh", "-c",
			"find /var/lib/microvms /var/lib/ferry /nix/var/nix/gcroots /nix/var/nix/profiles /nix/store -maxdepth 3 -printf '%p %T@ %l\\n' | sort | sha256sum; systemctl show -p InvocationID microvm@dry")
	}
	before := state()
	in.ferry("rebuild", "dry", toHost1, "--dry-run").want(0, "dry: would copy the derivations and build on root@host1, install, restart it")
	in.ferry("rebuild", "drynew", toHost1, "--dry-run").want(0, "start it (the VM is new)")
	if after := state(); after != before {
		t.Errorf("a dry run changed the host:\n%s\n%s", before, after)
	}
}
