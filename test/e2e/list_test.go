//go:build lab

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/lab"
	"ferry/internal/manage"
)

// listed decodes what `ferry list --json` printed, by the VMs' names.
func (r *ran) listed() map[string]manage.VM {
	r.t.Helper()
	vms := map[string]manage.VM{}
	for line := range strings.Lines(r.stdout) {
		var v manage.VM
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			r.t.Fatalf("%v in: %s", err, r)
		}
		vms[v.Name] = v
	}
	return vms
}

// States, what waits and what is outdated, through the life of a VM that can be
// switched live.
func TestListThroughALife(t *testing.T) {
	in, vm := newLive(t, "lister")
	list := func(args ...string) manage.VM {
		t.Helper()
		r := in.ferry(append([]string{"list", toHost1, "--json"}, args...)...)
		v, ok := r.listed()["lister"]
		if !ok || r.code != 0 {
			t.Fatalf("lister is not listed: %s", r)
		}
		return v
	}
	wants := func(v manage.VM, state hostapi.State, fresh hostapi.Freshness) {
		t.Helper()
		if v.State != state || v.Fresh != fresh {
			t.Errorf("it is %s and %s, wanted %s and %s: %+v", v.State, v.Fresh, state, fresh, v)
		}
	}
	v := list()
	wants(v, hostapi.StateRunning, hostapi.FreshCurrent)
	if string(v.Current) != vm.link("current") || v.Running != v.BootedSystem || v.Generation != 1 {
		t.Errorf("%+v", v)
	}
	in.write("lister.nix", liveModule("lister", "second"))
	v = list("--check")
	wants(v, hostapi.StateRunning, hostapi.FreshOutdated)
	if v.WantedSystem == v.CurrentSystem || v.Wanted == v.Current {
		t.Errorf("%+v", v)
	}
	in.ferry("install", "lister").want(0, "installed")
	v = list("--check")
	wants(v, hostapi.StateRunning, hostapi.FreshWaits)
	if v.Activation != hostapi.ActivateLive || !slices.Equal(v.Waits, []string{"the system inside"}) {
		t.Errorf("%+v", v)
	}
	in.ferry("list", toHost1).want(0, "waits for a switch", "ferry switch lister")

	in.write("lister.nix", strings.Replace(liveModule("lister", "third"), "mem = 256", "mem = 384", 1))
	in.ferry("rebuild", "lister").want(0, "switched live", "waits for a restart")
	v = list()
	wants(v, hostapi.StateRunning, hostapi.FreshWaits)
	if v.Activation != hostapi.ActivateRestart || !slices.Equal(v.Waits, []string{"memory 256 → 384 MiB"}) || v.Running != v.CurrentSystem || v.Running == v.BootedSystem {
		t.Errorf("after a live switch: %+v", v)
	}
	in.ferry("list", "host1").want(0, "waits for a restart", "memory 256 → 384 MiB")
	vm.systemctl("restart")
	wants(list("--check"), hostapi.StateRunning, hostapi.FreshCurrent)
	vm.systemctl("stop")
	wants(list(), hostapi.StateStopped, hostapi.FreshCurrent)
}

// Whatever lies in the state directory is listed with its reason, and aborts
// nothing; what a unit's helper did wrong is named.
func TestListOddities(t *testing.T) {
	in := newInfra(t, "", map[string]string{
		"sound": vmModule("sound"),
		"notap": vmModule("notap", `microvm.binScripts.tap-up = "echo no bridge here >&2; exit 1";`),
	})
	in.ferry("rebuild", "sound", toHost1).want(0, "started")
	in.ferry("rebuild", "notap", toHost1, "--no-rollback").want(1)
	during(t, world.host1, `cd /var/lib/microvms
mkdir odd-dangling odd-foreign odd-loop odd-empty odd-binary odd-blank "odd name" odd-planted
ln -s /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-gone odd-dangling/current
ln -s /etc odd-foreign/current
ln -s current odd-loop/current
for d in odd-binary odd-blank "odd name" odd-planted; do cp -P sound/current "$d/current"; done
printf '\000\377' >odd-binary/flake; : >odd-blank/flake
echo github:evil/flake >odd-planted/flake; chown microvm odd-planted/flake
echo hello >odd-file; ln -s /etc odd-link; mkfifo odd-pipe`, `rm -rf /var/lib/microvms/odd*`)
	r := in.ferry("list", toHost1, "--json").want(0)
	vms := r.listed()
	if v := vms["sound"]; v.State != hostapi.StateRunning || v.Fresh != hostapi.FreshCurrent || len(v.Problems) > 0 {
		t.Errorf("sound: %+v", v)
	}
	for name, want := range map[string]string{
		"odd-dangling": "gone from the store", "odd-foreign": "not a store path", "odd-loop": "not a store path", "odd-empty": "not a VM",
		"odd-binary": "not text", "odd-blank": "empty", "odd name": "ferry manages no VM of this name", "odd-planted": "instead of root",
		"odd-file": "not a directory", "odd-link": "not a directory", "odd-pipe": "not a directory",
		"notap": "microvm-tap-interfaces@notap.service",
	} {
		if p := strings.Join(vms[name].Problems, "; "); !strings.Contains(p, want) {
			t.Errorf("%s: %q, wanted %q", name, p, want)
		}
	}
	if vms["notap"].State != hostapi.StateFailed || vms["odd-planted"].Flake != "" {
		t.Errorf("notap: %+v, odd-planted: %+v", vms["notap"], vms["odd-planted"])
	}
	// The same by the drop-in and as a table.
	in.ferry("list", toHost1).want(0, "odd-loop", "not a store path", "sound")
	m := microvmOn(t, world.host1, "", "-l")
	m.want(3, "sound: current(", "odd-binary")
}

// A list takes one connection, no Nix process, and far less than a second
// for each VM.
// microvm-nix/microvm.nix#58
func TestListIsFast(t *testing.T) {
	in := newInfra(t, "", map[string]string{"quick": vmModule("quick")})
	in.ferry("rebuild", "quick", toHost1).want(0, "started")
	const many = 100
	during(t, world.host1, fmt.Sprintf(`cd /var/lib/microvms
for i in $(seq %d); do mkdir many-$i; cp -P quick/current many-$i/current; ln -s "$(readlink quick/current)" many-$i/booted; done`, many),
		`rm -rf /var/lib/microvms/many-*`)
	in.ferry("list", toHost1).want(0) // the helper is there now
	calls := spyOnNix(t, world.host1)
	before := connections(t, world.host1)
	ended := lab.Took()
	r := in.ferry("list", toHost1, "--json").want(0)
	took := ended()
	if n := len(r.listed()); n <= many {
		t.Errorf("only %d VMs are listed", n)
	}
	if got := connections(t, world.host1) - before; got != 1 {
		t.Errorf("%d connections", got)
	}
	if got := calls(); got != "" {
		t.Errorf("Nix was called: %s", got)
	}
	if took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	t.Logf("%d VMs in %s", many+1, took)
}

// Several hosts at once; one that is down doesn't keep the others from being
// listed.
func TestListSeveralHosts(t *testing.T) {
	in := newInfra(t, `{ hosts.one.address = "root@host1"; hosts.two.address = "root@host2"; vms.pair.host = "two"; }`,
		map[string]string{"pair": vmModule("pair"), "stray": vmModule("stray")})
	in.ferry("install", "pair").want(0, "installed")
	in.ferry("install", "stray", toHost1).want(0, "installed")
	vms := in.ferry("list", "--json").want(0).listed()
	if vms["pair"].Host != "two" || vms["stray"].Host != "one" {
		t.Errorf("%+v", vms)
	}
	in.ferry("list", "--check").want(0, "stray", "not compared")
	in.ferry("list").want(0, "HOST", "one", "two", "stray")
	r := in.ferry("list", "one", "root@nowhere.invalid", "--json").want(3, "root@nowhere.invalid", "1 of 2 hosts")
	if _, ok := r.listed()["stray"]; !ok {
		t.Errorf("stray is missing: %s", r)
	}
	// A flake that can't be evaluated is said of its VM; the rest is checked.
	in.write("pair.nix", "{ ... }: throw \"no pair\"\n")
	r = in.ferry("list", "--check", "--json").want(3)
	if v := r.listed()["pair"]; !strings.Contains(v.CheckError, "no pair") || v.Fresh != hostapi.FreshUnknown {
		t.Errorf("pair: %+v", v)
	}
}

func TestListBadInput(t *testing.T) {
	in := newInfra(t, "", map[string]string{"any": vmModule("any")})
	in.refuses([]badInput{
		{"no host at all", "list", 2, []string{"no host is named", hint, "ferry.hosts"}},
		{"an option for a host", "list -- -oProxyCommand=x", 2, []string{hint}},
		{"unreachable", "list root@nowhere.invalid", 1, []string{"nowhere.invalid"}},
		{"unknown host key", "list root@unknown-host1", 1, []string{hint}},
		{"no root", "list nosudo@host1", 1, []string{"nosudo"}},
	})
}

// Without root a host can still be listed by hand; what can't be read is said so.
func TestListWithoutRoot(t *testing.T) {
	in := newInfra(t, "", map[string]string{"seen": vmModule("seen")})
	in.ferry("rebuild", "seen", toHost1).want(0, "started")
	var out, errs bytes.Buffer
	err := world.host1.Run(t.Context(), lab.Cmd{Args: []string{"ferry", "list", "local", "--json"}, User: "deploy", Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatalf("%v\n%s%s", err, errs.String(), out.String())
	}
	r := &ran{t: t, stdout: out.String()}
	if v := r.listed()["seen"]; v.Current == "" || v.State != hostapi.StateRunning && v.State != hostapi.StateUnknown {
		t.Errorf("%+v", v)
	}
}
