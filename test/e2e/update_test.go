//go:build lab

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/hydra/hydratest"
)

// A system that CI has built comes onto a running VM live, with no evaluation and
// from a directory without a flake: its path is in Hydra's JSON, and a guest that
// runs sshd and has the host's store mounted needs no reboot.
func TestPrebuiltSystemOntoARunningVM(t *testing.T) {
	in, vm := newLive(t, "prebuilt")
	in.follows("prebuilt")
	c := newPipeline(t, in, world.host1)
	invocation, first := vm.invocation(), vm.link("current")
	in.write("prebuilt.nix", liveModule("prebuilt", "second", fresh()))
	runner := c.build("prebuilt", "key")
	absent(t, world.host1, runner)
	c.succeeds("prebuilt", runner, 7)

	op := away(t)
	args := []string{"update", "prebuilt", "--host", "root@host1", "--allow-http", "--hydra", c.jobset(), "--cache", c.cache()}
	// Where the guest is, the host has recorded; nobody here says that it is right.
	op.ferry(args...).want(2, "root@host1 has recorded root@box", "--target root@box")
	absent(t, world.host1, runner)
	args = append(args, "--target", "root@box")
	op.ferry(append(args, "--dry-run")...).want(0, "would download "+runner, "install")
	absent(t, world.host1, runner)
	res := op.deploy(result.OutcomeSwitched, args...)
	if string(res.Runner) != runner || vm.link("current") != runner || vm.link("old") != first || res.Build != c.url+"/build/7" || res.Generation < 2 {
		t.Fatalf("%+v; current %s, old %s", res, vm.link("current"), vm.link("old"))
	}
	if got := runningSystem(t, world.guest1); got != string(res.System) {
		t.Errorf("the guest runs %s, wanted %s", got, res.System)
	}
	if vm.invocation() != invocation {
		t.Error("the unit was restarted")
	}
	if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, "second") {
		t.Errorf("the page is %s", got)
	}
	// What runs is kept.
	collectGarbage(t, world.host1)
	valid(t, world.host1, runner)
	if got := op.ferry("history", "prebuilt", "--host", "root@host1", "--json").want(0).stdout; !strings.Contains(got, c.url+"/build/7") || !strings.Contains(got, infraFlake) {
		t.Errorf("the history does not say where it came from: %s", got)
	}

	before := connections(t, world.host1)
	if res := op.deploy(result.OutcomeUnchanged, args...); string(res.Runner) != runner {
		t.Errorf("%+v", res)
	}
	if n := connections(t, world.host1) - before; n != 1 {
		t.Errorf("nothing was to be done, with %d connections", n)
	}
	// A server that lost its newest builds brings no older one back.
	c.succeeds("prebuilt", first, 6)
	op.ferry(args...).want(1, "build 6 is older than build 7 of the same job", hint+"if the older one is meant, use --allow-older")
	op.ferry(append(args, "--dry-run", "--allow-older")...).want(0)
	// The way back is that of every deployment.
	op.ferry("rollback", "prebuilt", "--host", "root@host1", "--target", "root@box").want(0, "rolled back; switched live")
	if vm.link("current") != first {
		t.Errorf("current is %s", vm.link("current"))
	}
}

// An update that breaks the VM is undone as every deployment is.
func TestUpdateIsUndone(t *testing.T) {
	in, vm := newLive(t, "worse")
	in.follows("worse")
	c := newPipeline(t, in, world.host1)
	current, system := vm.link("current"), runningSystem(t, world.guest1)
	in.write("worse.nix", liveModule("worse", "second", fresh()))
	c.succeeds("worse", c.build("worse", "key"), 7)
	r := away(t).ferry("update", "worse", "--host", "root@host1", "--allow-http", "--target", "root@box", "--hydra", c.jobset(), "--cache", c.cache(),
		"--check-command", "false", "--confirm-timeout", "5s", "--json").want(4, "check command failed")
	if res := r.result(); res.Outcome != result.OutcomeRolledBack {
		t.Errorf("%s", r)
	}
	if vm.link("current") != current || runningSystem(t, world.guest1) != system {
		t.Errorf("current %s, the guest runs %s", vm.link("current"), runningSystem(t, world.guest1))
	}
}

// results decodes what --json printed, one object a line.
func (r *ran) results() map[string]result.Result {
	r.t.Helper()
	all := map[string]result.Result{}
	for line := range strings.Lines(r.stdout) {
		var res result.Result
		if err := json.Unmarshal([]byte(line), &res); err != nil {
			r.t.Fatalf("%v in: %s", err, r)
		}
		all[string(res.VM)] = res
	}
	return all
}

// Of all VMs of a host, those are updated whose `flake` is what the jobset
// builds; the others are left with the reason. One that has no usable build
// does not keep the rest from theirs, and the exit code says so.
func TestUpdateAll(t *testing.T) {
	in := newInfra(t, hostsOnly, map[string]string{"a1": vmModule("a1"), "b1": vmModule("b1"), "c1": vmModule("c1")})
	for _, vm := range []string{"a1", "b1", "c1"} {
		in.follows(vm, "root@host1")
		onHost(t, world.host1, vm).systemctl("start")
	}
	in.ferry("install", "c1", "root@host1", "--update-flake", "git+https://git.example.org/other").want(0)
	c := newPipeline(t, in, world.host1)
	in.write("a1.nix", vmModule("a1", fresh()))
	runner := c.build("a1", "key")
	c.succeeds("a1", runner, 7)
	c.succeeds("c1", runner, 8)
	op := away(t)
	args := []string{"update", "--all", "--host", "root@host1", "--allow-http", "--hydra", c.jobset(), "--cache", c.cache()}

	c.builds(hydratest.Build{ID: 9, Job: "b1", Finished: true, Status: 1, Out: runner})
	before := connections(t, world.host1)
	r := op.ferry(append(args, "--json")...).want(3, "1 of ", "has no successful build of job infra/main/b1")
	if n := connections(t, world.host1) - before; n != 1 {
		t.Errorf("%d connections for all VMs of a host", n)
	}
	got := r.results()
	if got["a1"].Outcome != result.OutcomeRestarted || got["b1"].Outcome != result.OutcomeFailed || got["c1"].Outcome != result.OutcomeSkipped {
		t.Fatalf("%s", r)
	}
	if !strings.Contains(got["c1"].Reason, "its `flake` file says git+https://git.example.org/other") {
		t.Errorf("the reason is %q", got["c1"].Reason)
	}
	if got := onHost(t, world.host1, "a1").link("booted"); got != runner {
		t.Errorf("a1 runs %s, wanted %s", got, runner)
	}

	c.builds(hydratest.Build{ID: 9, Job: "b1", Out: runner})
	op.ferry(args...).want(3, "a1: unchanged", "has no successful build of job infra/main/b1", "c1: skipped: ")
	// A failed or unfinished build leaves what succeeded before it.
	c.builds(hydratest.Build{ID: 10, Job: "a1", Finished: true, Status: 1, Out: runner})
	op.ferry("update", "a1", "--host", "root@host1", "--allow-http", "--hydra", c.jobset()).want(1, "has no successful build of job infra/main/a1")
	// The build of another VM is not taken, whatever the CI says.
	c.succeeds("b1", runner, 9)
	op.ferry(args...).want(3, `contains a system named "a1"; b1's is named "b1"`)
	op.ferry("update", "b1", "--host", "root@host1", "--allow-http", "--hydra", c.jobset(), "--cache", c.cache()).want(1, `contains a system named "a1"`)

	// A host that is down does not keep the VMs of the others from theirs.
	c.succeeds("a1", runner, 11)
	op.ferry("update", "--all", "--host", "root@10.23.0.99", "--host", "root@host1", "--allow-http", "--hydra", c.url+"/job/infra/main/{vm}/latest-for/x86_64-linux").
		want(3, "10.23.0.99", "a1: unchanged")
	// Of all VMs, those that the file names; one that was named must be in it.
	file := c.put("built.json", `{"a1": "`+runner+`"}`)
	op.ferry("update", "--all", "--host", "root@host1", "--allow-http", "--from", file).want(0, "a1: unchanged", "b1: skipped: there is no build", "c1: skipped")
	op.ferry("update", "b1", "--host", "root@host1", "--allow-http", "--from", file).want(1, "does not name b1")
}

const hostsOnly = `{ hosts.host1.address = "root@host1"; hosts.host2.address = "root@host2"; }`

// A Hydra that is down, in trouble or somewhere else changes nothing, and the
// message says what is wrong with what.
func TestHydraFaults(t *testing.T) {
	in := newInfra(t, hostsOnly, map[string]string{"calm": vmModule("calm")})
	in.follows("calm", "root@host1")
	vm := onHost(t, world.host1, "calm")
	vm.systemctl("start")
	c := newPipeline(t, in, world.host1)
	in.write("calm.nix", vmModule("calm", fresh()))
	runner := c.build("calm", "key")
	c.succeeds("calm", runner, 7)
	op := away(t)
	args := []string{"update", "calm", "--host", "root@host1", "--cache", c.cache(), "--allow-http", "--hydra", c.jobset()}
	job := "/job/infra/main/calm/latest-finished"
	for _, f := range []struct{ path, how, says string }{
		{job, "500", "500"},
		{job, "html", "instead of JSON"},
		{job, "empty", "it is empty"},
		{job, "to http://10.23.0.12:8750/build/7", "another origin"},
		{"/jobset/infra/main", "html", "instead of JSON"},
	} {
		c.fails(f.path, f.how)
		vm.unchangedBy(runner, func() { op.ferry(args...).want(1, f.says, "nothing was changed") })
	}
	c.fails("", "")
	vm.unchangedBy(runner, func() {
		op.ferry("update", "calm", "--host", "root@host1", "--allow-http", "--hydra", c.url+"/jobset/infra/none").want(1, "infra/none")
		op.ferry("update", "calm", "--host", "root@host1", "--allow-http", "--hydra", "http://operator:8759/jobset/infra/main").want(1, "refused")
		op.ferry("update", "none", "--host", "root@host1", "--allow-http", "--hydra", c.jobset()).want(1, "there is no VM none on root@host1")
	})
	op.ferry(args...).want(0, "restarted")
}

// On the host itself, as a timer runs it: there is no operator, and no key that
// opens the guest, so the restart policy decides, and ferry says so.
func TestUpdateOnTheHost(t *testing.T) {
	in, vm := newLive(t, "alone")
	c := newPipeline(t, in, world.host1)
	here := func(args ...string) string {
		t.Helper()
		out, err := world.host1.Output(t.Context(), append([]string{"sh", "-c", `cd / && exec "$@" 2>&1`, "sh", "ferry", "update", "alone", "--host", "local",
			"--cache", c.cache(), "--allow-http", "--from", c.url + "/built.json"}, args...)...)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return out
	}
	built := func() string {
		in.write("alone.nix", liveModule("alone", "second", fresh()))
		runner := c.build("alone", "key")
		c.put("built.json", `{"alone": "`+runner+`", "another": "/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-x"}`)
		return runner
	}
	invocation := vm.invocation()
	runner := built()
	if out := here("--restart=never"); !strings.Contains(out, "installed only, since it can't be switched while it runs: its system can't be logged in to") || !strings.Contains(out, "the system inside waits for a restart") {
		t.Error(out)
	}
	if vm.link("current") != runner || vm.invocation() != invocation {
		t.Errorf("current %s, wanted %s", vm.link("current"), runner)
	}
	runner = built()
	if out := here(); !strings.Contains(out, "restarted") || !strings.Contains(out, "its system can't be logged in to") {
		t.Error(out)
	}
	if vm.link("booted") != runner || vm.invocation() == invocation {
		t.Errorf("booted %s, wanted %s", vm.link("booted"), runner)
	}
	if out := here(); !strings.Contains(out, "alone: unchanged on local") {
		t.Error(out)
	}
}

// Updates that silently do nothing because `flake` holds a path of the
// store: it is said. And a VM without a `flake` file is left, with the reason.
// microvm-nix/microvm.nix#55, #416, #283
func TestUpdateFromAFixedFlakeIsNamed(t *testing.T) {
	in := newInfra(t, "", map[string]string{"fixed": vmModule("fixed")})
	in.ferry("install", "fixed", "root@host1").want(0)
	update := `cd / && ferry update fixed --host local --from-flake 2>&1 || :`
	if out := output(t, world.host1, "sh", "-c", update); !strings.Contains(out, "fixed: skipped: it has no `flake` file") {
		t.Error(out)
	}
	output(t, world.host1, "sh", "-c", "echo /nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-source >/var/lib/microvms/fixed/flake")
	if out := output(t, world.host1, "sh", "-c", update); !strings.Contains(out, "names a path of the store, which never changes") {
		t.Error(out)
	}
}
