package flakeupdate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBareRepository(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	r := f.want(Updated, func(r *Request) { r.Flake = f.remote })
	if f.tip(f.remote, "flake-update") != r.Commit {
		t.Errorf("%+v", r)
	}
	// With HEAD at the branch itself: nobody works in it.
	f.git(f.remote, "symbolic-ref", "HEAD", "refs/heads/flake-update")
	f.rev["dep"] = "3"
	f.want(Updated, func(r *Request) { r.Flake = f.remote })
}

func TestFlakeInASubdirectory(t *testing.T) {
	f := newFixture(t)
	f.git(f.dir, "rm", "-q", "flake.nix", "flake.lock")
	f.write("a dir/flake.nix", "{ }")
	f.write("a dir/flake.lock", lockOf(f.rev))
	f.write("a dir/vms/web.nix", "{ }")
	f.commit("move")
	f.git(f.dir, "push", "-q", "origin", "main")
	f.subdir = "a dir"
	for i, flake := range []string{filepath.Join(f.dir, "a dir"), filepath.Join(f.dir, "a dir/vms"), f.dir + "?dir=a dir", f.dir + "?dir=a+dir/vms", f.remote + "?dir=a%20dir"} {
		f.rev["dep"] = strings.Repeat("2", i+1)
		if r := f.want(Updated, func(r *Request) { r.Flake = flake }); r.Flake != "a dir/flake.nix" || len(r.Inputs) != 1 {
			t.Errorf("%s: %+v", flake, r)
		}
	}
	f.fails(func(r *Request) { r.Flake = f.dir }, "has no flake.nix")
	f.fails(func(r *Request) { r.Flake = f.dir + "?dir=../x" }, "leaves the repository")
	f.fails(func(r *Request) { r.Flake = f.dir + "?ref=x" }, "is not a directory")
}

// A work tree of the repository that is linked to it, with a branch of its own.
func TestLinkedWorkTree(t *testing.T) {
	f := newFixture(t)
	linked := filepath.Join(t.TempDir(), "linked")
	f.git(f.dir, "worktree", "add", "-q", "-b", "topic", linked)
	f.rev["dep"] = "2"
	f.want(Updated, func(r *Request) { r.Flake = linked })
	if _, err := os.Stat(filepath.Join(linked, "flake.nix")); err != nil {
		t.Error("the linked work tree suffered:", err)
	}
	f.git(linked, "checkout", "-q", "flake-update")
	f.fails(nil, "the branch flake-update is checked out in "+linked)
}

func TestUnusablePlaces(t *testing.T) {
	f := newFixture(t)
	empty, unborn := t.TempDir(), t.TempDir()
	f.git(unborn, "init", "-q")
	for flake, want := range map[string]string{
		empty: "is in no git repository", unborn: "has no commit yet", f.dir + "/flake.nix": "is not a directory",
		"github:acme/infra": "is not a directory", "/no/such": "is not a directory",
	} {
		f.fails(func(r *Request) { r.Flake = flake }, want)
	}
	f.git(f.dir, "checkout", "-q", "-b", "flake-update")
	f.fails(nil, "is checked out in")
	f.git(f.dir, "checkout", "-q", "main")
	for _, branch := range []string{"", "-x", "a..b", "a b", "HEAD", "@{-1}", "x.lock", strings.Repeat("x", 300)} {
		f.fails(func(r *Request) { r.Branch = branch }, "is not a valid branch name")
	}
	for _, input := range []string{"--commit", "a b", "a//b", "", "a;b"} {
		f.fails(func(r *Request) { r.Inputs = []string{input} }, "is not a valid input name")
	}
	t.Setenv("GIT_DIR", f.dir+"/.git")
	if _, err := f.run(nil); err == nil || !strings.Contains(err.Error(), "GIT_DIR is set") {
		t.Errorf("%v", err)
	}
}

// A server's timer commits as nobody in particular.
func TestNoIdentity(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(os.Getenv("HOME"), ".gitconfig"), "[user]\n\tuseConfigOnly = true\n")
	f.rev["dep"] = "2"
	f.want(Updated, nil)
	if who := f.git(f.dir, "log", "-1", "--format=%an <%ae> %cn", "flake-update"); !strings.HasPrefix(who, "ferry <ferry@") || !strings.HasSuffix(who, " ferry") {
		t.Error(who)
	}
	f.rev["dep"] = "3"
	t.Setenv("GIT_AUTHOR_NAME", "Timer")
	t.Setenv("GIT_AUTHOR_EMAIL", "timer@example.org")
	t.Setenv("GIT_COMMITTER_NAME", "Timer")
	t.Setenv("GIT_COMMITTER_EMAIL", "timer@example.org")
	f.want(Updated, nil)
	if who := f.git(f.dir, "log", "-1", "--format=%an <%ae>", "flake-update"); who != "Timer <timer@example.org>" {
		t.Error(who)
	}
}

// Hooks are for the user's own work tree; here they would fail.
func TestHooksDoNotRun(t *testing.T) {
	f := newFixture(t)
	for _, hook := range []string{"pre-commit", "commit-msg", "post-checkout", "pre-push", "pre-merge-commit", "reference-transaction"} {
		name := filepath.Join(f.dir, ".git/hooks", hook)
		write(t, name, "#!/bin/sh\necho this hook ran >&2\nexit 1\n")
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.rev["dep"] = "2"
	f.want(Updated, toOrigin)
	f.commitTo(f.remote, "main", "vms.nix", "{ }")
	f.rev["dep"] = "3"
	f.want(Updated, toOrigin)
}

// Two at once: the second one says so and does nothing.
func TestTwoAtOnce(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	var second error
	f.onNix = func(string) {
		f.onNix = nil
		_, second = f.run(nil)
	}
	f.want(Updated, nil)
	var busy *BusyError
	if !errors.As(second, &busy) || f.nixRan != 1 {
		t.Errorf("%v, Nix ran %d times", second, f.nixRan)
	}
}

// A signal while Nix runs: the work tree goes, no branch moves.
func TestInterrupted(t *testing.T) {
	f := newFixture(t)
	f.rev["dep"] = "2"
	before := f.state()
	ctx, cancel := context.WithCancel(t.Context())
	f.onNix = func(string) { cancel() }
	_, err := (&Updater{Nix: f, Report: f}).Run(ctx, Request{Flake: f.dir, Branch: "flake-update", Remote: "origin"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if after := f.state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// What a killed run left, its work tree with a half-made commit and its refs, is
// in nobody's way.
func TestAfterAKilledRun(t *testing.T) {
	f := newFixture(t)
	dir, err := os.MkdirTemp("", treePrefix)
	if err != nil {
		t.Fatal(err)
	}
	f.git(f.dir, "worktree", "add", "-q", "--detach", dir)
	write(t, filepath.Join(dir, "flake.lock"), "half")
	gone, err := os.MkdirTemp("", treePrefix)
	if err != nil {
		t.Fatal(err)
	}
	f.git(f.dir, "worktree", "add", "-q", "--detach", gone)
	f.git(f.dir, "worktree", "lock", gone)
	if err := os.RemoveAll(gone); err != nil {
		t.Fatal(err)
	}
	f.git(f.dir, "update-ref", privateRefs+"base", "HEAD")
	f.rev["dep"] = "2"
	f.want(Updated, toOrigin)
	if trees := f.git(f.dir, "worktree", "list"); strings.Contains(trees, treePrefix) {
		t.Errorf("work trees: %s", trees)
	}
}
