//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"path"
	"strings"
	"testing"
	"time"

	"ferry/internal/lab"
	"ferry/internal/timers"
)

// everyFew fires every few seconds.
const everyFew = "*:*:0/5"

// timerHost is a host whose timers go when the test ends.
func timerHost(t *testing.T) *lab.Machine {
	t.Helper()
	h := world.host1
	remove := func(ctx context.Context) {
		for _, k := range []string{"update", "flake-update"} {
			if _, err := h.Output(ctx, "ferry", "host", "timer", k, "local", "--remove"); err != nil {
				t.Error(err)
			}
		}
	}
	remove(t.Context())
	t.Cleanup(func() { remove(context.Background()) })
	return h
}

func timerStatus(t *testing.T, in *infra, k timers.Kind) timers.Status {
	t.Helper()
	r := in.ferry("host", "timer", "status", "root@host1", "--json").want(0)
	for line := range strings.Lines(r.stdout) {
		var s timers.Status
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v in: %s", err, r)
		}
		if s.Timer == k {
			return s
		}
	}
	t.Fatalf("no timer %s in: %s", k, r)
	return timers.Status{}
}

// A host keeps its VMs current from Hydra: the timer fires, and what CI built is
// what runs. A word that is wrong in the settings ends the run, and says so.
func TestTimerUpdatesFromHydra(t *testing.T) {
	in := newInfra(t, hostsOnly, map[string]string{"timed": vmModule("timed")})
	in.follows("timed", "root@host1")
	vm := onHost(t, world.host1, "timed")
	vm.systemctl("start")
	h := timerHost(t)
	c := newPipeline(t, in, h)
	in.write("timed.nix", vmModule("timed", fresh()))
	runner := c.build("timed", "key")
	c.succeeds("timed", runner, 7)

	set := []string{"host", "timer", "update", "root@host1", "timed", "--on-calendar", everyFew, "--allow-http", "--hydra", c.jobset(), "--cache", c.cache()}
	in.ferry(append(set, "--dry-run")...).want(0, "this would be done", "create /etc/ferry/timers.json", "+OnCalendar="+everyFew)
	if s := timerStatus(t, in, timers.KindUpdate); s.Active {
		t.Fatal("--dry-run has set the timer")
	}
	in.ferry(append(set, "--on-calendar", "dayly")...).want(1, "is not a calendar expression")
	in.ferry(set...).want(0, "timer update: set up", "created /etc/systemd/system/ferry-update.timer")
	eventually(t, "the timer has updated the VM", time.Minute, func() bool { return vm.link("booted") == runner })
	in.ferry(set...).want(0, "nothing to do")
	eventually(t, "its run has ended well", 30*time.Second, func() bool {
		s := timerStatus(t, in, timers.KindUpdate)
		return s.Active && !s.Last.IsZero() && s.Result == "success" && s.Error == ""
	})
	if got := output(t, h, "journalctl", "-q", "-o", "cat", "-u", "ferry-update.service"); !strings.Contains(got, "timed: restarted on local") {
		t.Errorf("the journal has: %s", got)
	}
	if got := in.ferry("history", "timed", "--host", "root@host1").want(0).stdout; !strings.Contains(got, "restarted") {
		t.Error(got)
	}

	// A build that does not start is undone, once: the VM is not taken down for it
	// by every run.
	in.write("timed.nix", vmModule("timed", fresh(), `microvm.preStart = "echo out of luck; exit 3";`))
	c.succeeds("timed", c.build("timed", "key"), 8)
	status := func(code int) func() bool {
		return func() bool { return timerStatus(t, in, timers.KindUpdate).ExitCode == code }
	}
	eventually(t, "the bad build is refused", time.Minute, status(1))
	undone := strings.Count(vm.outcomes(), "rolled-back")
	invocation := vm.invocation()
	runs := func() int {
		return strings.Count(output(t, h, "journalctl", "-q", "-o", "cat", "-u", "ferry-update.service"), "this very runner was deployed before and undone")
	}
	before := runs()
	eventually(t, "two more runs", time.Minute, func() bool { return runs() >= before+2 })
	if undone != 1 || strings.Count(vm.outcomes(), "rolled-back") != 1 || vm.invocation() != invocation || vm.link("booted") != runner {
		t.Errorf("history: %s; booted %s, wanted %s", vm.outcomes(), vm.link("booted"), runner)
	}
	c.succeeds("timed", runner, 9)
	eventually(t, "all is well again", time.Minute, status(0))

	output(t, h, "sh", "-c", `sed -i 's/"hydra"/"hydar"/' /etc/ferry/timers.json`)
	eventually(t, "the run fails", 30*time.Second, func() bool { return timerStatus(t, in, timers.KindUpdate).Result == "exit-code" })
	in.ferry("host", "timer", "status", "root@host1").want(0, "`update.hydar` is unknown (did you mean `hydra`?)", "ended with exit code 1")
	in.ferry("host", "timer", "update", "root@host1", "--remove").want(0, "removed")
	if s := timerStatus(t, in, timers.KindUpdate); s.Active {
		t.Error("the timer is still there")
	}
}

// One timer updates the flake's inputs on a branch, another has the VMs follow it,
// on a server with a bare repository.
func TestTimersFollowTheFlakes(t *testing.T) {
	h := timerHost(t)
	in := newInfra(t, hostsOnly, map[string]string{"chain": vmModule("chain",
		`lab.note = if builtins.pathExists (site + "/note") then builtins.readFile (site + "/note") else "none";`)})
	dir := "/srv/t/timers"
	on := func(script string, args ...string) string {
		t.Helper()
		return output(t, h, append([]string{"sh", "-euc", script, "sh"}, args...)...)
	}
	// The flake as a repository of the host's, with inputs that are there.
	on(`rm -rf "$1" && mkdir -p "$1"`, dir)
	in.op("sh", "-euc", `for d in /root/microvm.nix /root/site "$1"; do tar -C "$(dirname "$d")" -c "$(basename "$d")"; done | ssh root@host1 "tar -C $2 -x -i"`, "sh", in.dir, dir)
	flake := path.Join(dir, path.Base(in.dir))
	on(`cd "$2" && git config --global user.name Host && git config --global user.email host@example.org && git config --global --add safe.directory '*'
		chown -R root:root "$1"
		git -C "$1/site" init -q -b main && git -C "$1/site" add -A && git -C "$1/site" commit -qm site
		sed -i "s#git+file:///root/microvm.nix#git+file://$1/microvm.nix#; s#path:/root/site#git+file://$1/site#" flake.nix
		rm -f flake.lock && git add -A && nix flake lock && git add -A && git commit -qm here
		git clone -q --bare . "$1/infra.git" && git -C "$1/infra.git" branch -q flake-update`, dir, flake)
	in.ferry("install", "chain", "root@host1", "--update-flake", "git+file://"+dir+"/infra.git?ref=flake-update").want(0)
	vm := onHost(t, h, "chain")
	vm.systemctl("start")
	first := vm.link("booted")

	in.ferry("host", "timer", "update", "root@host1", "--on-calendar", everyFew, "--from-flake", "chain").want(0, "set up")
	in.ferry("host", "timer", "flake-update", "root@host1", "--on-calendar", everyFew, "--repository", dir+"/infra.git", "--push", dir+"/infra.git").want(0, "set up")
	// Nothing is new; then an input moves.
	eventually(t, "the flake's timer has run", time.Minute, func() bool {
		s := timerStatus(t, in, timers.KindFlakeUpdate)
		return s.Result == "success" && !s.Last.IsZero()
	})
	on(`cd "$1/site" && date >note && git add note && git commit -qm moved`, dir)
	rev := on(`git -C "$1/site" rev-parse HEAD`, dir)
	eventually(t, "the branch has the new input", time.Minute, func() bool {
		return strings.Contains(on(`git -C "$1/infra.git" show flake-update:flake.lock`, dir), rev)
	})
	eventually(t, "the VM runs what the branch yields", time.Minute, func() bool { return vm.link("booted") != first })
	eventually(t, "the history says where it came from", 30*time.Second, func() bool {
		got := in.ferry("history", "chain", "--host", "root@host1", "--json").want(0).stdout
		return strings.Contains(got, "infra.git") && strings.Contains(got, `"restarted"`)
	})
}
