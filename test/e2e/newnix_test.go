//go:build lab

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
	"ferry/internal/lab"
	"ferry/internal/nix"
)

// withNewNix gives the machines the newest Nix that Debian has until the test
// ends. Their own must get along with what it left.
func withNewNix(t *testing.T, machines ...*lab.Machine) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, m := range machines {
		own := output(t, m, "nix", "--version")
		said, restore, err := m.UseNix(t.Context(), lab.NewNix)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := restore(); err != nil {
				t.Errorf("%s has still the other Nix: %v", m.Name, err)
				return
			}
			got, err := m.Output(ctx, "sh", "-euc", "nix --version; nix store info --json >/dev/null; nix-store --verify")
			if err != nil || got != own {
				t.Errorf("%s's own Nix after the new one: %q, %v", m.Name, got, err)
			}
		})
		v, err := nix.ParseVersion(said)
		if err != nil || v.Compare(nix.Version{Major: 2, Minor: 31}) < 0 {
			t.Fatalf("%s has %q, which is not new: %v", m.Name, said, err)
		}
		t.Logf("%s: %s instead of %s", m.Name, said, own)
	}
}

// A host whose Nix is the newest: root's own store, and the multi-user daemon
// for root and for a user with sudo.
func TestNewNixOnHosts(t *testing.T) {
	withNewNix(t, world.host1, world.host2)
	number := strings.Fields(output(t, world.host2, "nix", "--version"))
	if got := output(t, world.host2, "sh", "-c", "nix store info --store daemon 2>&1"); !strings.Contains(got, "Version: "+number[len(number)-1]) {
		t.Errorf("host2 has another daemon: %s", got)
	}
	for _, c := range []struct {
		name, to string
		on       *lab.Machine
		flags    []string
	}{
		{"newroot", "root@host1", world.host1, nil},
		{"newdaemon", "root@host2", world.host2, nil},
		{"newsudo", "deploy@host2", world.host2, []string{"--host-sudo"}},
	} {
		t.Run(c.name, func(t *testing.T) { lifeOf(t, onHost(t, c.on, c.name), c.to, c.flags) })
	}
}

// lifeOf deploys a VM of that name to a host again and again, and back.
func lifeOf(t *testing.T, vm vmOn, to string, flags []string) {
	name := vm.name
	in := newInfra(t, "", map[string]string{name: vmModule(name)})
	deployed := func(outcome result.Outcome, verb string) result.Result {
		t.Helper()
		return in.deploy(outcome, slices.Concat([]string{verb, name, to}, flags)...)
	}
	manage := func(verb string, args ...string) *ran {
		t.Helper()
		return in.ferry(slices.Concat([]string{verb, name, "--host=" + to}, flags, args)...)
	}

	first := deployed(result.OutcomeStarted, "rebuild")
	in.write(name+".nix", vmModule(name, `lab.note = "2";`))
	second := deployed(result.OutcomeRestarted, "rebuild")
	deployed(result.OutcomeUnchanged, "rebuild")
	if second.Generation != 2 || !second.ConfigurationOnly || vm.link("old") != string(first.Runner) {
		t.Errorf("the update: %+v, old %s", second, vm.link("old"))
	}

	in.write(name+".nix", vmModule(name, "lab.buildFails = true;"))
	in.ferry(slices.Concat([]string{"rebuild", name, to}, flags)...).
		want(1, "-failing-1.0.drv failed: ", "compiling file 39 of 40", "error: undefined reference to 'frobnicate'", "nothing was changed")
	if vm.link("current") != string(second.Runner) {
		t.Error("a failed build moved current")
	}

	in.write(name+".nix", vmModule(name, `lab.note = "3";`))
	third := deployed(result.OutcomeInstalled, "install")
	collectGarbage(t, vm.host)
	for link, want := range map[string]string{"current": string(third.Runner), "old": string(second.Runner), "booted": string(second.Runner)} {
		if got := vm.link(link); got != want {
			t.Errorf("after a collection %s is %s, wanted %s", link, got, want)
		}
		valid(t, vm.host, vm.link(link))
	}

	listed := in.ferry(slices.Concat([]string{"list", to, "--json"}, flags)...).want(0).listed()[name]
	if listed.State != hostapi.StateRunning || listed.Fresh != hostapi.FreshWaits || listed.Generation != 3 || len(listed.Problems) > 0 {
		t.Errorf("listed: %+v", listed)
	}
	manage("rollback").want(0, "rolled back", "generation 2")
	if vm.link("current") != string(second.Runner) {
		t.Error("the rollback did not lead to generation 2")
	}
	manage("generations").want(0, "current, booted")
}

// A live switch on a host whose Nix is the newest, and what runs then survives a
// collection by it.
func TestNewNixLiveSwitch(t *testing.T) {
	withNewNix(t, world.host1)
	in, vm := newLive(t, "newlive")
	invocation := vm.invocation()
	in.write("newlive.nix", liveModule("newlive", "second"))
	second := in.deploy(result.OutcomeSwitched, "rebuild", "newlive")
	in.write("newlive.nix", liveModule("newlive", "third"))
	in.deploy(result.OutcomeInstalled, "install", "newlive")
	in.write("newlive.nix", liveModule("newlive", "fourth"))
	in.deploy(result.OutcomeInstalled, "install", "newlive")
	output(t, world.host1, "nix-collect-garbage", "-d")
	valid(t, world.host1, string(second.System))
	if got := runningSystem(t, world.guest1); got != string(second.System) || vm.invocation() != invocation {
		t.Fatalf("the guest runs %s", got)
	}
	output(t, world.guest1, "nix-store", "--check-validity", string(second.System))
	fourth := in.deploy(result.OutcomeSwitched, "rebuild", "newlive")
	if got := runningSystem(t, world.guest1); got != string(fourth.System) {
		t.Errorf("the guest runs %s, wanted %s", got, fourth.System)
	}
}

// An operator whose Nix is the newest, with hosts that have an older one.
func TestNewNixOnOperator(t *testing.T) {
	withNewNix(t, world.operator)
	for _, p := range []labPackage{{"nix", "TestRealBuild", world.operator}, {"flake", "TestCacheHit", world.operator}} {
		t.Run(p.name, func(t *testing.T) { p.test(t) })
	}
	for _, c := range []struct {
		name, to string
		on       *lab.Machine
		flags    []string
	}{
		{"opernew-root", "root@host1", world.host1, nil},
		{"opernew-sudo", "deploy@host2", world.host2, []string{"--host-sudo"}},
	} {
		t.Run(c.name, func(t *testing.T) { lifeOf(t, onHost(t, c.on, c.name), c.to, c.flags) })
	}
}
