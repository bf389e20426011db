//go:build lab

package e2e

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// noteOf is what the VM's current system has in its file /etc/lab/note.
func (v vmOn) noteOf() string {
	v.t.Helper()
	return output(v.t, v.host, "cat", path.Join(v.dir(), "current/share/microvm/system/etc/lab/note"))
}

// evalInfra is a flake with inputs that only the operator has: a library in a
// repository of its own, a directory, and what the flake says of itself.
func evalInfra(t *testing.T, names ...string) *infra {
	t.Helper()
	modules := map[string]string{}
	for _, name := range names {
		modules[name] = noting(name)
	}
	in := newInfra(t, "", modules)
	in.op("sh", "-euc", `cd "$1"; rm -rf "$1-lib"; cp -r /root/microvm.nix "$1-lib"
sed -i "s,git+file:///root/microvm.nix,git+file://$1-lib,; s,inputs = { inherit site; },inputs = { inherit site; self = self.rev or \"dirty\"; },; s,vm = module,vm = module," flake.nix
rm flake.lock; git add -A; git commit -qm own; nix flake lock; git add -A; git commit -qm lock`, "sh", in.dir)
	return in
}

// noting is a VM whose system tells what it was evaluated from.
func noting(name string) string {
	return strings.Replace(vmModule(name, `lab.note = "${self} ${builtins.readFile "${site}/footer.html"}";`), "{ packages, site,", "{ packages, site, self,", 1)
}

// checkouts lists what looks like a flake on the host, outside of the store.
func checkouts(t *testing.T, h *lab.Machine) string {
	t.Helper()
	return output(t, h, "find", "/", "-xdev", "(", "-path", "/nix/store", "-o", "-path", "/proc", "-o", "-path", "/opt", ")", "-prune", "-o", "-name", "flake.*", "-print")
}

// The host evaluates and builds from a copy of the flake, and no checkout is left
// there that other operators would wonder about. The inputs go along, so the host
// needs none of the places that they are fetched from; neither does the operator,
// once it has them.
func TestEvalOnHostCopiesTheInputs(t *testing.T) {
	for i, l := range rootLogins() {
		t.Run(strings.Join(l.args, " "), func(t *testing.T) {
			name := fmt.Sprintf("evals%d", i)
			in := evalInfra(t, name)
			vm := onHost(t, l.host, name)
			lib := in.dir + "-lib"
			for _, input := range []string{"git+file://" + lib, "path:/root/site"} {
				if err := l.host.Run(t.Context(), lab.Cmd{Args: []string{"nix", "flake", "metadata", input}}); err == nil {
					t.Fatalf("the host can fetch %s: is this test still right?", input)
				}
			}
			in.op("mv", lib, lib+".away")
			before := checkouts(t, l.host)
			args := append([]string{"rebuild", name}, append(l.args, "--eval-on", "host")...)
			r := in.deploy(result.OutcomeStarted, args...)
			vm.arrived(r)
			rev := in.op("git", "-C", in.dir, "rev-parse", "HEAD")
			if note := vm.noteOf(); !strings.HasPrefix(note, rev) {
				t.Errorf("evaluated from %s, not from %s", note, rev)
			}
			if h := vm.history(); !strings.Contains(h, `"revision":"`+rev+`"`) || !strings.Contains(h, "git+file://"+in.dir) {
				t.Errorf("history: %s", h)
			}
			if after := checkouts(t, l.host); after != before {
				t.Errorf("a checkout is left: %s", after)
			}
			// The sources were rooted for the run only (arrived has collected).
			for _, p := range strings.Fields(in.op("sh", "-c", `nix flake archive --json "$1" 2>/dev/null | grep -o '/nix/store/[a-z0-9]*-source'`, "sh", in.dir)) {
				if has(t, l.host, p) {
					t.Errorf("%s is left", p)
				}
			}
			in.deploy(result.OutcomeUnchanged, args...)
			// Evaluated here, it is the same.
			in.op("mv", lib+".away", lib)
			in.deploy(result.OutcomeUnchanged, append([]string{"rebuild", name}, l.args...)...)
		})
	}
}

// --override-input means the same on the host as here, also for what the
// overriding flake has no lock for, and with a work tree that is dirty.
func TestEvalOnHostKeepsOverrides(t *testing.T) {
	in := evalInfra(t, "overrides")
	vm := onHost(t, world.host2, "overrides")
	site := in.dir + "-site"
	in.op("sh", "-euc", `rm -rf "$1"; mkdir "$1"; echo 'another & "quoted" site' >"$1/footer.html"`, "sh", site)
	args := []string{"rebuild", "overrides", "deploy@host2", "--host-sudo", "--eval-on", "host"}
	in.deploy(result.OutcomeStarted, args...)
	in.deploy(result.OutcomeRestarted, append(args, "--override-input", "site", "path:"+site)...)
	if note := vm.noteOf(); !strings.Contains(note, `another & "quoted" site`) {
		t.Errorf("not from the overriding input: %s", note)
	}
	r := in.deploy(result.OutcomeUnchanged, append(args, "--override-input", "site", "path:"+site)...)
	// Both inputs, one of them a repository with commits, in a dirty tree.
	in.write("overrides.nix", strings.Replace(noting("overrides"), "${self}", "${self} second", 1))
	in.op("sh", "-euc", `cd "$1-lib"; echo '# changed' >>lib/default.nix; git add -A; git commit -qm changed`, "sh", in.dir)
	both := []string{"--override-input", "site", "path:" + site, "--override-input", "microvm", "git+file://" + in.dir + "-lib"}
	if again := in.deploy(result.OutcomeRestarted, append(args, both...)...); again.Runner == r.Runner {
		t.Error("the same runner")
	}
	if note := vm.noteOf(); !strings.HasPrefix(note, "dirty second another") {
		t.Errorf("evaluated from %s", note)
	}
	in.deploy(result.OutcomeUnchanged, append([]string{"rebuild", "overrides", "deploy@host2", "--host-sudo"}, both...)...)
	// The overrides stay the operator's: nothing was written into the lock file.
	if s := in.op("git", "-C", in.dir, "status", "--porcelain", "flake.lock"); s != "" {
		t.Errorf("the lock file was changed: %s", s)
	}
}

// Where sudo wants a password, the sources go through ferry's helper.
func TestEvalOnHostWithPassword(t *testing.T) {
	in := evalInfra(t, "askeval")
	in.typing(1, "rebuild", "askeval", "admin@host2", "--host-sudo", "--eval-on", "host").want(0, "askeval: started on admin@host2")
	valid(t, world.host2, onHost(t, world.host2, "askeval").link("current"))
}

// The rest of a deployment is as ever: the addresses are the flake's, the guest is
// asked and switched live.
func TestEvalOnHostSwitchesLive(t *testing.T) {
	in, vm := newLive(t, "evallive")
	in.write("evallive.nix", liveModule("evallive", "second"))
	r := in.deploy(result.OutcomeSwitched, "rebuild", "evallive", "--eval-on", "host")
	if got := runningSystem(t, world.guest1); got != string(r.System) || vm.link("current") != string(r.Runner) {
		t.Errorf("the guest runs %s", got)
	}
	in.deploy(result.OutcomeUnchanged, "rebuild", "evallive", "--eval-on", "host")
}

// What goes wrong is said as for an evaluation here, and changes nothing.
func TestEvalOnHostGoesWrong(t *testing.T) {
	in := evalInfra(t, "evalbad")
	eval := func(args ...string) *ran {
		return in.ferry(append([]string{"rebuild", "evalbad", toHost1, "--eval-on", "host"}, args...)...)
	}
	unchanged(t, func() {
		eval("--impure").want(2, "an impure evaluation depends on the machine", hint+"leave out --impure")
		eval("--build-on", "local").want(2, "what is evaluated on the host is built there", hint)
		in.ferry("rebuild", "evalbd", toHost1, "--eval-on", "host").want(1, "has no nixosConfigurations.evalbd", "did you mean `evalbad`?", "nothing was changed")
		eval("--dry-run").want(0, "would")
		in.write("evalbad.nix", noting("evalbad")+" broken")
		eval().want(1, "evaluating on the host failed", "evalbad.nix", "nothing was changed")
		in.write("evalbad.nix", vmModule("evalbad", `lab.note = throw "on purpose";`))
		eval().want(1, "on purpose", "nothing was changed")
		in.write("evalbad.nix", vmModule("evalbad", failingBuild("evalbad")))
		eval().want(1, "error: evalbad: building /nix/store/", "this is why", "nothing was changed")
	})
	onHost(t, world.host1, "evalbad").noDirectory()
}
