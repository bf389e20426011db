package flakeupdate

import (
	"context"
	"fmt"
	"strings"
)

// tips are the commits that matter. Empty: there is none.
type tips struct {
	base     string // what updates are made on
	baseName string // of it, for people
	local    string // of the update branch in this repository
	remote   string // of the update branch at the remote
	branch   string // the newer one of local and remote
}

// tips looks where the branches are: with a remote, what counts is there.
func (j *job) tips(ctx context.Context) (t tips, err error) {
	if t.local, err = j.repo.commit(ctx, "refs/heads/"+j.Branch); err != nil {
		return t, fmt.Errorf("looking at %s: %w", j.Branch, err)
	}
	if j.Remote != "" {
		if err := j.fetch(ctx, &t); err != nil {
			return t, err
		}
	}
	if t.base == "" {
		t.baseName = "HEAD"
		if t.base, err = j.repo.commit(ctx, "HEAD"); err != nil {
			return t, fmt.Errorf("looking at HEAD: %w", err)
		}
	}
	if t.branch, err = j.newer(ctx, t); err != nil {
		return t, err
	}
	if t.base == "" && t.branch == "" {
		return t, &stateError{why: "the repository has no commit yet", hint: "commit the flake first"}
	}
	return t, nil
}

// fetch asks the remote for its default branch and the update branch, without
// moving any branch here.
func (j *job) fetch(ctx context.Context, t *tips) error {
	j.step("asking %s for its branches", j.shownRemote())
	out, err := j.repo.run(ctx, "ls-remote", "--symref", "--", j.Remote, "HEAD", "refs/heads/"+j.Branch)
	if err != nil {
		return fmt.Errorf("asking %s for its branches: %w", j.shownRemote(), err)
	}
	t.baseName = j.shownRemote() + "'s HEAD"
	var refspecs []string
	for line := range strings.Lines(out) {
		value, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		symbolic, isSymbolic := strings.CutPrefix(value, "ref: refs/heads/")
		switch {
		case name == "HEAD" && isSymbolic:
			t.baseName = j.shownRemote() + "'s " + symbolic
		case name == "HEAD":
			t.base = value
			refspecs = append(refspecs, "+HEAD:"+privateRefs+"base")
		case name == "refs/heads/"+j.Branch:
			t.remote = value
			refspecs = append(refspecs, "+"+name+":"+privateRefs+"branch")
		}
	}
	if len(refspecs) == 0 {
		return nil // an empty repository
	}
	_, err = j.repo.run(ctx, append([]string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
		"--no-recurse-submodules", "--refmap=", "--", j.Remote}, refspecs...)...)
	if err != nil {
		return fmt.Errorf("fetching from %s: %w", j.shownRemote(), err)
	}
	// They may have moved since they were listed.
	if t.base != "" {
		if t.base, err = j.repo.commit(ctx, privateRefs+"base"); err != nil {
			return err
		}
	}
	if t.remote != "" {
		t.remote, err = j.repo.commit(ctx, privateRefs+"branch")
	}
	return err
}

// newer is the one of the two update branches that has the other in it.
func (j *job) newer(ctx context.Context, t tips) (string, error) {
	if t.local == "" || t.remote == "" {
		return t.local + t.remote, nil
	}
	if in, err := j.repo.contains(ctx, t.remote, t.local); err != nil || in {
		return t.remote, err
	}
	if in, err := j.repo.contains(ctx, t.local, t.remote); err != nil || in {
		return t.local, err
	}
	return "", &DivergedError{
		one: "the branch " + j.Branch + " here", other: "that of " + j.shownRemote(),
		hint: "look at both (git log --oneline --graph " + j.Branch + " …); where the one here holds nothing of worth: git branch -D " + j.Branch,
	}
}

// start says on which commit to begin, and which one is to be merged into it
// first (empty: none).
func (j *job) start(ctx context.Context, t tips) (commit, merge string, err error) {
	if t.branch == "" || t.base == "" {
		return t.branch + t.base, "", nil
	}
	if in, err := j.repo.contains(ctx, t.branch, t.base); err != nil || in {
		return t.branch, "", err
	}
	if in, err := j.repo.contains(ctx, t.base, t.branch); err != nil || in {
		return t.base, "", err
	}
	return t.branch, t.base, nil
}

// merge brings base into the branch, so that updates are built together with
// what has been done since. Only the lock file may conflict: what it says of
// inputs is about to be brought up to date anyway.
func (j *job) merge(ctx context.Context, tree git, t tips) error {
	j.step("merging %s into %s", t.baseName, j.Branch)
	_, failed := tree.run(ctx, "merge", "--no-ff", "--no-edit", "--quiet", "-m", fmt.Sprintf("Merge %s into %s", t.baseName, j.Branch), t.base)
	if failed == nil || ctx.Err() != nil {
		return failed
	}
	lock := j.repo.prefix + "flake.lock"
	conflicts, err := tree.run(ctx, "diff", "--name-only", "--diff-filter=U", "--no-relative")
	if err != nil {
		return fmt.Errorf("merging %s: %w", t.baseName, err)
	}
	if conflicts == "" {
		return fmt.Errorf("merging %s: %w", t.baseName, failed)
	}
	if conflicts != lock {
		return &DivergedError{
			one: "the branch " + j.Branch, other: t.baseName,
			hint: "they can't be merged by themselves (" + strings.ReplaceAll(conflicts, "\n", ", ") + "): merge them by hand",
		}
	}
	for _, args := range [][]string{{"checkout", "--quiet", "--ours", "--", lock}, {"add", "--", lock}, {"commit", "--quiet", "--no-edit"}} {
		if _, err := tree.run(ctx, args...); err != nil {
			return fmt.Errorf("merging %s: %w", t.baseName, err)
		}
	}
	return nil
}
