//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"ferry/internal/flakeupdate"
	"ferry/internal/lab"
)

// upstream is a flake of the operator whose input is a repository that moves, and
// its remote on a host, reached over SSH.
type upstream struct {
	*infra
	dep, bare string
	remote    string
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	name := regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-")
	u := &upstream{infra: &infra{t: t, dir: "/root/t/" + name + "/infra"}, dep: "/root/t/" + name + "/dep", bare: "/root/t/" + name + ".git"}
	u.remote = "ssh://root@host1" + u.bare
	u.op("rm", "-rf", "/root/t/"+name)
	u.op("git", "init", "-q", u.dep)
	u.op("git", "init", "-q", u.dir)
	u.move("1")
	u.write("flake.nix", fmt.Sprintf("{\n  inputs.dep = { url = \"git+file://%s\"; flake = false; };\n  outputs = { self, dep }: { };\n}\n", u.dep))
	u.git("add", ".")
	u.op("nix", "flake", "lock", u.dir)
	u.git("add", ".")
	u.git("commit", "-qm", "begin")
	output(t, world.host1, "rm", "-rf", u.bare)
	output(t, world.host1, "git", "init", "-q", "--bare", u.bare)
	u.git("remote", "add", "origin", u.remote)
	u.git("push", "-q", "origin", "main")
	return u
}

func (u *upstream) git(args ...string) string {
	u.t.Helper()
	return u.op(append([]string{"git", "-C", u.dir}, args...)...)
}

// move commits to the input and returns its new revision.
func (u *upstream) move(content string) string {
	u.t.Helper()
	return u.op("sh", "-c", `cd "$1" && echo "$2" >file && git add file && git commit -qm "$2" && git rev-parse HEAD`, "sh", u.dep, content)
}

// onRemote runs git in the remote repository.
func (u *upstream) onRemote(args ...string) string {
	u.t.Helper()
	return output(u.t, world.host1, append([]string{"git", "-C", u.bare}, args...)...)
}

// state is what a run must leave alone, whatever happens.
func (u *upstream) state() string {
	u.t.Helper()
	return u.git("status", "--porcelain", "--ignored") + "\n" + u.git("rev-parse", "HEAD", "main") + "\n" +
		u.git("ls-files", "--stage") + "\n" + u.git("worktree", "list") + "\n" + u.op("sh", "-c", "ls -d /tmp/ferry-flake-update-* 2>/dev/null || :")
}

func updateResult(r *ran) flakeupdate.Result {
	r.t.Helper()
	var res flakeupdate.Result
	if err := json.Unmarshal([]byte(r.stdout), &res); err != nil {
		r.t.Fatalf("%v in: %s", err, r)
	}
	return res
}

// The inputs are updated in a commit on the branch flake-update, which is pushed,
// from a work tree full of changes, which stay.
func TestFlakeUpdate(t *testing.T) {
	u := newUpstream(t)
	u.write("flake.nix", "{ broken")
	u.op("sh", "-c", "echo x >"+u.dir+"/untracked")
	before := u.state()

	u.ferry("flake-update", "--push", "origin").want(0, "no input moved; flake-update stays as it is")
	if got := u.onRemote("for-each-ref", "refs/heads/flake-update"); got != "" {
		t.Fatalf("nothing was new, but the remote has %s", got)
	}

	rev := u.move("2")
	r := u.ferry("flake-update", "--push", "origin", "--json").want(0)
	res := updateResult(r)
	if res.Outcome != flakeupdate.Updated || len(res.Inputs) != 1 || res.Inputs[0].Input != "dep" || res.Inputs[0].To.Rev != rev || res.Remote != "origin" {
		t.Fatalf("%+v: %s", res, r)
	}
	if got := u.onRemote("rev-parse", "flake-update"); got != res.Commit {
		t.Errorf("the remote has %s, wanted %s", got, res.Commit)
	}
	if got := u.onRemote("diff", "--name-only", "main", "flake-update"); got != "flake.lock" {
		t.Errorf("the branch changes %q", got)
	}
	// What CI gets when it builds the branch.
	if got := u.op("nix", "flake", "metadata", "--refresh", "--json", "git+"+u.remote+"?ref=flake-update"); !strings.Contains(got, rev) {
		t.Errorf("the branch is locked to something else: %s", got)
	}
	u.ferry("flake-update", "--push", "origin", "dep").want(0, "no input moved")
	if got := u.onRemote("rev-parse", "flake-update"); got != res.Commit {
		t.Errorf("nothing was new, but the remote has %s", got)
	}
	if after := u.state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// As on a server: a bare repository, no terminal, no HOME, nobody's name.
func TestFlakeUpdateByATimer(t *testing.T) {
	u := newUpstream(t)
	rev := u.move("2")
	clone := u.dir + ".git"
	u.op("git", "clone", "-q", "--bare", u.dir, clone)
	u.op("git", "-C", clone, "remote", "set-url", "origin", u.remote)
	out := u.op("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "ferry", "flake-update", "--flake", clone, "--push", "origin", "--json")
	if !strings.Contains(out, rev) {
		t.Fatal(out)
	}
	if who := u.onRemote("log", "-1", "--format=%an <%ae>", "flake-update"); who != "ferry <ferry@operator>" {
		t.Errorf("committed by %s", who)
	}
}

// Whatever fails, no branch moves, and nothing is left.
func TestFlakeUpdateFails(t *testing.T) {
	u := newUpstream(t)
	u.move("2")
	before := u.state()
	check := func(what string) {
		t.Helper()
		if got := u.onRemote("for-each-ref", "refs/heads/flake-update") + u.git("for-each-ref", "refs/heads/flake-update", "refs/ferry"); got != "" {
			t.Errorf("%s: a branch has moved: %s", what, got)
		}
		if after := u.state(); after != before {
			t.Errorf("%s: before:\n%s\nafter:\n%s", what, before, after)
		}
	}
	u.ferry("flake-update", "nixpkgs").want(2, "the flake has no input nixpkgs", "there are: dep")
	check("an unknown input")
	u.ferry("flake-update", "--push", "upstream").want(2, "no remote upstream", "there are: origin")
	check("an unknown remote")
	u.ferry("flake-update", "--push", "ssh://root@unknown-host1"+u.bare).want(1, "Host key verification failed")
	check("a remote with an unknown host key")

	hook := u.bare + "/hooks/pre-receive"
	output(t, world.host1, "sh", "-c", `printf '#!/bin/sh\necho no updates on Fridays >&2\nexit 1\n' >"$1" && chmod +x "$1"`, "sh", hook)
	u.ferry("flake-update", "--push", "origin").want(1, "origin rejected the push to flake-update", "no updates on Fridays")
	check("a push that is declined")
	output(t, world.host1, "rm", hook)

	u.op("mv", u.dep, u.dep+".away")
	u.ferry("flake-update", "--push", "origin").want(1, "updating flake.lock", u.dep)
	check("an input that can't be fetched")
	u.op("mv", u.dep+".away", u.dep)

	u.ferry("flake-update", "--push", "origin").want(0, "1 input moved")
}

// A branch that went different ways here and there is nobody's to force.
func TestFlakeUpdateDiverged(t *testing.T) {
	u := newUpstream(t)
	u.move("2")
	u.ferry("flake-update").want(0, "1 input moved")
	here := u.git("rev-parse", "flake-update")
	u.op("sh", "-c", `cd "$1" && git worktree add -q -b theirs ../theirs main && cd ../theirs && echo x >theirs && git add theirs && git commit -qm theirs && git push -q origin theirs:flake-update`, "sh", u.dir)
	there := u.onRemote("rev-parse", "flake-update")
	u.ferry("flake-update", "--push", "origin").want(1, "have diverged", "git branch -D flake-update")
	if u.git("rev-parse", "flake-update") != here || u.onRemote("rev-parse", "flake-update") != there {
		t.Error("a branch has moved")
	}
	u.git("branch", "-D", "flake-update")
	u.ferry("flake-update", "--push", "origin").want(0, "1 input moved")
	u.onRemote("merge-base", "--is-ancestor", there, "flake-update")
}

// slowNix is a directory whose nix stops at `flake update`, with its process id
// in the file `at`.
func (u *upstream) slowNix() (dir string) {
	u.t.Helper()
	dir = u.dep + ".slow"
	u.op("sh", "-c", `mkdir -p "$1" && cat >"$1/nix" <<'E' && chmod +x "$1/nix"
#!/bin/sh
case " $* " in *" flake update "*) echo $$ >"$(dirname "$0")/at.new" && mv "$(dirname "$0")/at.new" "$(dirname "$0")/at"; exec sleep 300;; esac
exec /usr/bin/nix "$@"
E`, "sh", dir)
	return dir
}

// beginSlowly starts an update with that nix, in a process group of its own.
func (u *upstream) beginSlowly(slow string) *running {
	u.t.Helper()
	r := &running{in: u.infra, file: "/run/ferry-flake-update", out: &said{}, done: make(chan *ran, 1)}
	start := []string{"env", "PATH=" + slow + ":/usr/local/bin:/usr/bin:/bin", "setsid", "--wait", "sh", "-c", `echo $$ >"$0" && exec "$@"`, r.file}
	go func() { r.done <- u.ferryWith(lab.Cmd{Args: start}, "flake-update", "--push", "origin") }()
	return r
}

// Ended by a signal, killed, or run twice at once: the next run is as good as the
// first.
func TestFlakeUpdateCutOff(t *testing.T) {
	u := newUpstream(t)
	u.move("2")
	before := u.state()
	slow := u.slowNix()
	for _, c := range []struct {
		signal string
		left   bool // something is left for the next run to remove
	}{{"INT", false}, {"TERM", false}, {"KILL", true}} {
		u.op("rm", "-f", slow+"/at")
		run := u.beginSlowly(slow)
		eventually(t, "Nix runs", time.Minute, func() bool {
			return u.op("sh", "-c", "cat "+slow+"/at 2>/dev/null || :") != ""
		})
		u.ferry("flake-update").want(5, "another flake-update of", "is under way")
		run.signal(c.signal)
		if r := run.wait(); !c.left {
			r.want(130, "updating flake.lock")
		}
		if after := u.state(); (after != before) != c.left {
			t.Errorf("%s: before:\n%s\nafter:\n%s", c.signal, before, after)
		}
	}
	u.ferry("flake-update", "--push", "origin").want(0, "1 input moved")
	if after := u.state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
