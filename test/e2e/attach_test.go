//go:build lab

package e2e

import (
	"regexp"
	"testing"
	"time"

	"ferry/internal/lab"
)

// An operator is killed while its live switch is under way; whoever attaches
// confirms it, before the guest undoes it by itself.
func TestAttachToLiveSwitch(t *testing.T) {
	in, vm := newLive(t, "left")
	in.op("rm", "-rf", memories) // what other tests have left
	before := vm.invocation()
	in.write("left.nix", liveModule("left", "second", "lab.switchSleep = 6;"))
	run := in.begin("rebuild", "left")
	run.says("activating the configuration") // the unit in the guest is at work
	run.signal("KILL")
	run.wait()
	if got := in.op("sh", "-c", "stat -c %a "+memories+" "+memories+"/*"); got != "700\n600" {
		t.Errorf("what the operator remembers has the modes %s", got)
	}
	in.ferry("attach", "no-such-thing", "x").want(2)
	in.ferry("attach", "20200101T000000-aaaaaa").want(1, "no deployment", "ferry history")
	in.write("left.nix", liveModule("left", "third"))
	in.colleague("attach", "left").want(1, "the flake here yields another runner than deployment", "attach from the machine that began it")
	r := in.ferry("attach", "left").want(0, "switched live", "generation 2")
	id := r.stderrID()
	if got := in.op("ls", memories); got != "" {
		t.Errorf("the operator still remembers %s", got)
	}
	in.write("left.nix", liveModule("left", "second", "lab.switchSleep = 6;"))
	if vm.link("current") == vm.link("booted") || vm.invocation() != before {
		t.Errorf("current %s, booted %s", vm.link("current"), vm.link("booted"))
	}
	in.colleague("attach", id).want(0)
	in.ferry("attach", "left").want(0, "switched live") // how the last one ended
	in.ferry("attach").want(1, "no deployment that has not ended")
	in.ferry("rebuild", "left").want(0, "unchanged")
}

// A restart whose operator was killed: whoever attaches looks into the guest and
// confirms it, or undoes it.
func TestAttachToRestart(t *testing.T) {
	in, vm := newLive(t, "waits")
	args := []string{"rebuild", "waits", "--restart=always", "--confirm-timeout=60s"}
	leave := func(page string) {
		t.Helper()
		in.write("waits.nix", liveModule("waits", page))
		run := in.begin(args...)
		run.says("waiting for root@box")
		run.signal("KILL")
		run.wait()
	}
	leave("second")
	vm.boot(world.guest1) // the container plays the system that has booted
	in.colleague("attach", "waits").want(0, "was not begun from here", "restarted")
	in.ferry("rebuild", "waits").want(0, "unchanged")
	before := vm.contract()

	leave("third")
	output(t, world.guest1, "systemctl", "stop", "ssh.socket", "ssh.service")
	defer func() { _, _ = world.guest1.Output(t.Context(), "systemctl", "start", "ssh.service") }()
	ended := lab.Took()
	in.ferry("attach", "waits").want(4, "undoing", "runs again")
	if took := ended(); took > 3*time.Minute {
		t.Errorf("it took %s", took)
	}
	vm.wantContract(before)
}

// A host that wants the operator to log in elsewhere, and to run something there.
func TestAttachToHostileHost(t *testing.T) {
	in := newInfra(t, "", map[string]string{"victim": vmModule("victim")})
	runner := in.op("sh", "-c", "cd "+in.dir+" && nix eval --raw .#nixosConfigurations.victim.config.microvm.declaredRunner.outPath")
	lies := liar(t, world.host2)
	during(t, world.guest1, "rm -f /run/owned", "rm -f /run/owned")
	for _, phase := range []string{"", "await"} {
		for _, of := range []string{runner, "/nix/store/ffffffffffffffffffffffffffffffff-bait"} {
			left := `{"id":"20261122T024710-12b4f3","by":"you","started":"2026-11-22T02:47:10Z","action":"switch","target":"root@box"}`
			resumed := `{"deployment":` + left + `,"runner":"` + of + `","phase":"` + phase + `","deadline":"2099-01-01T00:00:00Z","system":"` + of +
				`","hostName":"box","commit":{"name":"victim","runner":"` + of + `","install":true,"activation":"live","confirm":{"await":true,"command":"touch /run/owned"}}}`
			lies(answer + `while read -r line; do case $line in
*alive*) echo '{"event":"alive"}' ;;
*underway*) echo '{"event":"result","result":[{"name":"victim","deployment":` + left + `}]}' ;;
*resume*) echo '{"event":"result","result":` + resumed + `}' ;;
*) printf '%s\n' "$line" >>/home/liar/told; echo '{"event":"result","result":{}}' ;;
esac; done`)
			says := "the flake here yields another runner"
			code := 1
			if of == runner {
				says, code = "--target", 2
			}
			in.ferry("attach", "victim", "--host", "liar@host2").want(code, says)
		}
	}
	output(t, world.guest1, "test", "!", "-e", "/run/owned")
	output(t, world.host2, "test", "!", "-e", "/home/liar/told")
}

// memories is where the operator remembers what can be attached to.
const memories = "/root/.local/state/ferry/deployments"

// colleague runs ferry as on a machine that began none of the deployments.
func (in *infra) colleague(args ...string) *ran {
	in.t.Helper()
	return in.ferryWith(lab.Cmd{Args: []string{"env", "XDG_STATE_HOME=/root/colleague"}}, args...)
}

// stderrID is the deployment that attach went on with.
func (r *ran) stderrID() string {
	r.t.Helper()
	m := deploymentID.FindString(r.stderr)
	if m == "" {
		r.t.Fatalf("no deployment in %s", r)
	}
	return m
}

var deploymentID = regexp.MustCompile(`[0-9]{8}T[0-9]{6}-[0-9a-z]+`)
