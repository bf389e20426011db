package flakeupdate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The user's work tree is full of changes; nothing of them is touched, and
// nothing of them gets onto the branch.
func TestUpdateBesideADirtyWorkTree(t *testing.T) {
	f := newFixture(t)
	f.write("flake.nix", "{ changed = true; }")
	f.write("staged.nix", "{ }")
	f.git(f.dir, "add", "staged.nix")
	f.write("untracked.nix", "{ }")
	before := f.git(f.dir, "status", "--porcelain") + f.git(f.dir, "rev-parse", "HEAD", "main")
	f.rev["dep"] = "2"
	r := f.want(Updated, nil)
	if after := f.git(f.dir, "status", "--porcelain") + f.git(f.dir, "rev-parse", "HEAD", "main"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if got := f.git(f.dir, "diff", "--name-only", "main", "flake-update"); got != "flake.lock" {
		t.Errorf("the branch changes %q", got)
	}
	if r.Commit != f.tip(f.dir, "flake-update") || f.git(f.dir, "rev-parse", "flake-update^") != f.tip(f.dir, "main") {
		t.Errorf("%+v", r)
	}
	want := Change{Input: "dep", From: &Locked{Source: "git+file:///dep", Rev: "1", Date: "2026-01-01"}, To: &Locked{Source: "git+file:///dep", Rev: "2", Date: "2026-01-01"}}
	if len(r.Inputs) != 1 || r.Inputs[0].String() != want.String() || *r.Inputs[0].To != *want.To {
		t.Errorf("%+v", r.Inputs)
	}
	if trees := f.git(f.dir, "worktree", "list"); strings.Contains(trees, "\n") {
		t.Errorf("work trees: %s", trees)
	}
	if !strings.Contains(r.Text(), "1 input moved") || !strings.Contains(r.Text(), "  dep: 2026-01-01 1 → 2026-01-01 2\n") {
		t.Error(r.Text())
	}
}

func TestNothingNew(t *testing.T) {
	f := newFixture(t)
	before := f.state()
	for _, change := range []func(*Request){nil, toOrigin} {
		f.want(Unchanged, change)
	}
	if after := f.state(); after != before || f.nixRan != 2 {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	f.rev["dep"] = "2"
	f.want(Updated, toOrigin)
	before = f.state()
	f.want(Unchanged, toOrigin)
	if after := f.state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestOneInput(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"], f.rev["other"] = "2", "2"
	r := f.want(Updated, func(r *Request) { r.Inputs = []string{"other"} })
	if len(r.Inputs) != 1 || r.Inputs[0].String() != "other: 1 → 2" {
		t.Errorf("%v", r.Inputs)
	}
	err := f.fails(func(r *Request) { r.Inputs = []string{"nixpkgs"} }, "the flake has no input nixpkgs")
	var usage *UsageError
	if !errors.As(err, &usage) || usage.Hint() != "there are: dep, other" {
		t.Errorf("%v", err)
	}
}

func TestPush(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	r := f.want(Updated, toOrigin)
	if r.Remote != "origin" || f.tip(f.remote, "flake-update") != r.Commit || f.tip(f.dir, "flake-update") != "" {
		t.Errorf("%+v", r)
	}
	// The next one goes on top, and a branch here follows.
	f.git(f.dir, "branch", "-q", "flake-update", "origin/flake-update")
	f.rev["dep"] = "3"
	next := f.want(Updated, toOrigin)
	if f.git(f.remote, "rev-parse", "flake-update^") != r.Commit || f.tip(f.dir, "flake-update") != next.Commit {
		t.Errorf("%+v", next)
	}
	if f.git(f.dir, "for-each-ref", "refs/ferry") != "" {
		t.Error("private refs are left")
	}
}

// What is pushed begins with what the remote has: commits that nobody has pushed
// yet are not published by the way.
func TestUnpublishedCommitsStayHere(t *testing.T) {
	f := newFixture(t)
	f.write("secret", "x")
	f.commit("not for the world")
	f.rev["dep"] = "2"
	f.want(Updated, toOrigin)
	if got := f.git(f.remote, "ls-tree", "--name-only", "flake-update"); strings.Contains(got, "secret") {
		t.Errorf("published: %s", got)
	}
}

// An update that was made without a push is pushed by the next run with one.
func TestPushOfAnEarlierUpdate(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	first := f.want(Updated, nil)
	r := f.want(Pushed, toOrigin)
	if r.Commit != first.Commit || f.tip(f.remote, "flake-update") != first.Commit || !strings.Contains(r.Text(), "which lacked it") {
		t.Errorf("%+v", r)
	}
}

// The branch was merged, and work went on: the next update begins there.
func TestAfterAMerge(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	f.want(Updated, toOrigin)
	f.git(f.remote, "update-ref", "refs/heads/main", "flake-update")
	f.commitTo(f.remote, "main", "vms.nix", "{ }")
	f.want(CaughtUp, toOrigin)
	if f.tip(f.remote, "flake-update") != f.tip(f.remote, "main") {
		t.Error("it has not caught up")
	}
	f.rev["dep"] = "3"
	f.want(Updated, toOrigin)
	if f.git(f.remote, "rev-parse", "flake-update^") != f.tip(f.remote, "main") {
		t.Error("it does not begin with main")
	}
}

// Updates wait on the branch while work goes on elsewhere, also on the lock file:
// both are brought together, without force.
func TestBothHaveMoved(t *testing.T) {
	for name, lock := range map[string]bool{"another file": false, "the lock file too": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.rev["dep"] = "2"
			first := f.want(Updated, toOrigin)
			f.commitTo(f.remote, "main", "vms.nix", "{ }")
			if lock {
				f.commitTo(f.remote, "main", "flake.lock", lockOf(map[string]string{"dep": "1b", "other": "1"}))
			}
			f.want(CaughtUp, toOrigin)
			f.want(Unchanged, toOrigin)
			f.rev["other"] = "2"
			r := f.want(Updated, toOrigin)
			for _, ancestor := range []string{first.Commit, "main"} {
				f.git(f.remote, "merge-base", "--is-ancestor", ancestor, "flake-update")
			}
			if got := f.git(f.remote, "show", r.Commit+":flake.lock"); got != strings.TrimSpace(lockOf(f.rev)) {
				t.Errorf("the lock file: %s", got)
			}
		})
	}
}

func TestConflict(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	f.want(Updated, toOrigin)
	f.commitTo(f.remote, "flake-update", "vms.nix", "{ a = 1; }")
	f.commitTo(f.remote, "main", "vms.nix", "{ b = 2; }")
	err := f.fails(toOrigin, "the branch flake-update and origin's main have diverged")
	if h := err.(interface{ Hint() string }).Hint(); !strings.Contains(h, "vms.nix") {
		t.Error(h)
	}
}

// The branch here and the one there went different ways.
func TestDiverged(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	f.want(Updated, nil)
	f.git(f.remote, "branch", "-q", "flake-update", "main")
	f.commitTo(f.remote, "flake-update", "theirs", "x")
	err := f.fails(toOrigin, "the branch flake-update here and that of origin have diverged")
	if h := err.(interface{ Hint() string }).Hint(); !strings.Contains(h, "git branch -D flake-update") {
		t.Error(h)
	}
}

// Somebody pushes between the look and the push.
func TestRejectedPush(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	f.want(Updated, toOrigin)
	f.rev["dep"] = "3"
	f.onNix = func(string) { f.onNix = nil; f.commitTo(f.remote, "flake-update", "theirs", "x") }
	_, err := f.run(toOrigin)
	var rejected *RejectedError
	if !errors.As(err, &rejected) || !strings.Contains(err.Error(), "rejected") {
		t.Fatalf("%v", err)
	}
	f.want(Updated, toOrigin) // what the hint says helps
	f.git(f.remote, "cat-file", "-e", "flake-update:theirs")
}

// A hook of the server says no.
func TestPushThatTheServerDeclines(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(f.remote, "hooks", "pre-receive"), "#!/bin/sh\necho no updates on Fridays >&2\nexit 1\n")
	if err := os.Chmod(filepath.Join(f.remote, "hooks", "pre-receive"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.rev["dep"] = "2"
	f.fails(toOrigin, "no updates on Fridays")
}

func TestMissingRemote(t *testing.T) {
	f := newFixture(t)
	err := f.fails(func(r *Request) { r.Remote = "upstream" }, "the repository has no remote upstream")
	if h := err.(interface{ Hint() string }).Hint(); h != "there are: origin" {
		t.Error(h)
	}
	f.fails(func(r *Request) { r.Remote = f.remote + "-gone" }, "asking ")
	f.fails(func(r *Request) { r.Remote = "--upload-pack=touch /tmp/x" }, "is not a remote")
}

func TestInputThatCannotBeFetched(t *testing.T) {
	f := newFixture(t)
	f.failure = errors.New("unable to download: network is unreachable")
	f.fails(toOrigin, "network is unreachable")
}
