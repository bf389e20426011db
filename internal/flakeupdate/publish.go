package flakeupdate

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// update is what Nix did.
type update struct {
	commit  string // to move the branch to
	changed bool   // the lock file is another one
	inputs  []Change
}

// publish moves the update branch to the new commit: first at the remote, which
// decides, then here. What moves is always a fast-forward.
func (j *job) publish(ctx context.Context, t tips, u update) (*Result, error) {
	r := &Result{Branch: j.Branch, Outcome: Unchanged, Flake: j.repo.prefix + "flake.nix"}
	if worth, err := j.worthABranch(ctx, t, u); err != nil || !worth {
		return r, err
	}
	if u.commit != t.branch {
		r.Outcome = CaughtUp
	}
	if j.Remote != "" && u.commit != t.remote {
		if err := j.push(ctx, u.commit); err != nil {
			return nil, err
		}
		r.Remote = j.shownRemote()
		if r.Outcome == Unchanged {
			r.Outcome = Pushed
		}
	}
	if u.changed {
		r.Outcome, r.Inputs = Updated, u.inputs
	}
	if u.commit != t.local && (j.Remote == "" || t.local != "") {
		if err := j.moveLocal(ctx, t, u.commit); err != nil {
			return nil, err
		}
	}
	if r.Outcome != Unchanged {
		r.Commit = u.commit
	}
	return r, nil
}

// worthABranch reports whether there is an update branch to keep up to date, or a
// reason to make one: not for a commit that the default branch has.
func (j *job) worthABranch(ctx context.Context, t tips, u update) (bool, error) {
	exists := t.branch != ""
	if j.Remote != "" {
		exists = t.remote != ""
	}
	if exists || u.changed || t.base == "" {
		return true, nil
	}
	in, err := j.repo.contains(ctx, t.base, u.commit)
	return !in, err
}

func (j *job) push(ctx context.Context, commit string) error {
	j.step("pushing %.10s to %s of %s", commit, j.Branch, j.shownRemote())
	_, err := j.repo.run(ctx, "push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--",
		j.Remote, commit+":refs/heads/"+j.Branch)
	var failed *gitError
	if !errors.As(err, &failed) {
		return err
	}
	for line := range strings.Lines(failed.stdout) {
		if strings.HasPrefix(line, "!") {
			said := strings.TrimSpace(failed.said + "\n" + strings.ReplaceAll(strings.TrimSpace(line), "\t", " "))
			return &RejectedError{remote: j.shownRemote(), branch: j.Branch, said: said}
		}
	}
	return fmt.Errorf("pushing to %s: %w", j.shownRemote(), err)
}

// moveLocal moves the branch here, unless somebody else has since it was looked
// at.
func (j *job) moveLocal(ctx context.Context, t tips, to string) error {
	_, err := j.repo.run(ctx, "update-ref", "-m", "ferry flake-update", "refs/heads/"+j.Branch, to, t.local)
	if err != nil {
		return fmt.Errorf("moving the branch %s here: %w", j.Branch, err)
	}
	return nil
}
