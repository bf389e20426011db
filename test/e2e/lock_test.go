//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// gate is a build on a host that takes until it is opened.
type gate struct {
	t    *testing.T
	host *lab.Machine
	name string
	made int64 // nothing of an earlier run in a lab that was kept will do
}

func newGate(t *testing.T, h *lab.Machine, name string) gate {
	t.Helper()
	g := gate{t, h, name, time.Now().UnixNano()}
	during(t, h, "rm -f "+g.file(), "touch "+g.file()) // no builder is left waiting
	return g
}

func (g gate) file() string { return "/tmp/ferry-gate-" + g.name }

// line is for the module of what has to wait.
func (g gate) line() string {
	return fmt.Sprintf(`environment.systemPackages = [ (packages.run "gate-%s" { } ": %d; while [ ! -e %s ]; do sleep 0.2; done; mkdir $out") ];`,
		g.name, g.made, g.file())
}

func (g gate) open() { g.t.Helper(); output(g.t, g.host, "touch", g.file()) }

// reached waits until a build stands before the gate.
func (g gate) reached() {
	g.t.Helper()
	eventually(g.t, "the build of "+g.name, time.Minute, func() bool {
		return output(g.t, g.host, "sh", "-c", `pgrep -fc "$1" || :`, "sh", "[f]erry-gate-"+g.name) != "0"
	})
}

// outcomes are those of the VM's history, oldest first.
func (v vmOn) outcomes() string {
	v.t.Helper()
	return output(v.t, v.host, "sh", "-c", `sed 's/.*"outcome":"\([a-z-]*\)".*/\1/' "$1" | tr '\n' ' '`, "sh", "/var/lib/ferry/vms/"+v.name+"/history.jsonl")
}

// Two operators at once: the second is told who works on the VM, or waits with
// --wait, and then sees what the first has made. A third one is interrupted
// while it waits and leaves nothing.
func TestWaitForTheLock(t *testing.T) {
	g := newGate(t, world.host1, "queue")
	in := newInfra(t, "", map[string]string{"queue": vmModule("queue", g.line())})
	vm := onHost(t, world.host1, "queue")
	first := in.begin("rebuild", "queue", toHost1)
	g.reached()
	in.write("queue.nix", vmModule("queue", `lab.note = "second";`))
	in.ferry("rebuild", "queue", toHost1).want(5, "queue is locked by root@operator since 20", ", deployment ", "--wait")
	in.ferry("rebuild", "queue", toHost1, "--wait=2").want(5, "waiting: queue is locked by root@operator since ", "(waited 2s)")

	third := in.begin("rebuild", "queue", toHost1, "--wait")
	third.says("waiting: queue is locked by root@operator")
	third.signal("INT")
	third.wait().want(130, "queue: interrupted", "queue: nothing was changed")

	second := in.begin("rebuild", "queue", toHost1, "--wait=5m", "--json")
	second.says("waiting: queue is locked by root@operator")
	g.open()
	first.wait().want(0, "queue: started on root@host1 (generation 1)")
	r := second.wait().want(0)
	if res := r.result(); res.Outcome != result.OutcomeRestarted || res.Generation != 2 {
		t.Errorf("the second: %s", r)
	}
	if n := strings.Count(r.stderr, "waiting: "); n != 1 {
		t.Errorf("it says %d times who has the lock:\n%s", n, r.stderr)
	}
	if got := vm.outcomes(); got != "started restarted" {
		t.Errorf("the history has %q", got)
	}
	if vm.locked() || vm.root("ferry/queue/pending") != "" {
		t.Error("something is left of the deployments")
	}
}

// What another deployment brings meanwhile may be just what is wanted; and the
// commands of a VM's life wait, too.
func TestWaitThenNothingToDo(t *testing.T) {
	g := newGate(t, world.host1, "same")
	in := newInfra(t, "", map[string]string{"same": vmModule("same")})
	vm := onHost(t, world.host1, "same")
	in.deploy(result.OutcomeStarted, "rebuild", "same", toHost1)
	in.write("same.nix", vmModule("same", g.line()))
	first := in.begin("rebuild", "same", toHost1)
	g.reached()
	second := in.begin("rebuild", "same", toHost1, "--wait")
	second.says("waiting: ")
	g.open()
	first.wait().want(0, "restarted")
	second.wait().want(0, "unchanged")

	g = newGate(t, world.host1, "more")
	in.write("same.nix", vmModule("same", g.line()))
	first = in.begin("rebuild", "same", toHost1)
	g.reached()
	in.ferry("restart", "same", host1Flag).want(5, "same is locked by root@operator since ")
	in.ferry("remove", "same", "--yes", host1Flag).want(5, "same is locked by root@operator since ")
	in.ferry("rollback", "same", host1Flag).want(5, "same is locked by root@operator since ")
	remove := in.begin("remove", "same", "--yes", "--wait", host1Flag)
	remove.says("waiting: ")
	g.open()
	first.wait().want(0, "restarted")
	remove.wait().want(0, "same: removed")
	vm.noDirectory()
}

// A lock ends with the process that holds it, however that ends: killed, or with
// the whole machine.
func TestNoStaleLock(t *testing.T) {
	sshConfig(t, "Host host1 host2\n\tServerAliveInterval 1\n\tServerAliveCountMax 4")
	for _, c := range []struct {
		name string
		host *lab.Machine
		kill func(vm vmOn)
	}{
		{"helperkilled", world.host1, func(vm vmOn) {
			output(t, vm.host, "sh", "-c", `kill -9 "$(sed 's/.*"pid":\([0-9]*\).*/\1/' "/var/lib/ferry/locks/$1")"`, "sh", vm.name)
		}},
		{"hostkilled", world.host2, func(vm vmOn) {
			if err := vm.host.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = vm.host.Start(t.Context()) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t, c.host, c.name)
			to := "root@" + c.host.Name
			in := newInfra(t, "", map[string]string{c.name: vmModule(c.name, g.line())})
			vm := onHost(t, c.host, c.name)
			run := in.begin("rebuild", c.name, to)
			g.reached()
			c.kill(vm)
			run.wait().want(1, c.name+": ", "was lost", "nothing was changed")
			if !c.host.Running() {
				if err := c.host.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if vm.locked() {
				t.Fatal("the lock is still held")
			}
			g.open()
			in.ferry("rebuild", c.name, to).want(0, "started")
			if got := vm.outcomes(); got != "interrupted started" {
				t.Errorf("the history has %q", got)
			}
		})
	}
}

// Deployments of different VMs on one host run side by side.
func TestSideBySide(t *testing.T) {
	names := []string{"side1", "side2", "side3"}
	modules, gates := map[string]string{}, map[string]gate{}
	for _, name := range names {
		gates[name] = newGate(t, world.host1, name)
		modules[name] = vmModule(name, gates[name].line())
	}
	in := newInfra(t, "", modules)
	runs := map[string]*running{}
	for _, name := range names {
		runs[name] = in.begin("rebuild", name, toHost1)
	}
	for _, name := range names { // all of them are building at this point
		gates[name].reached()
		if !onHost(t, world.host1, name).locked() {
			t.Errorf("%s is not locked", name)
		}
	}
	for _, name := range names {
		gates[name].open()
		runs[name].wait().want(0, "started")
	}
}
