package flakeupdate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// An input's name is an identifier of Nix; those of inputs of inputs are joined
// by slashes.
var inputPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_'-]*(/[A-Za-z_][A-Za-z0-9_'-]*)*$`)

func checkInputs(names []string) error {
	for _, n := range names {
		if len(n) > 500 || !inputPattern.MatchString(n) {
			return &UsageError{why: fmt.Sprintf("%.80q is not a valid input name", n), hint: "name inputs of the flake, such as nixpkgs"}
		}
	}
	return nil
}

// checkBranch has git say whether the name is one for a branch.
func (j *job) checkBranch(ctx context.Context) error {
	wrong := &UsageError{why: fmt.Sprintf("%.80q is not a valid branch name", j.Branch), hint: "--branch takes a name such as flake-update"}
	if j.Branch == "" || len(j.Branch) > 200 || strings.HasPrefix(j.Branch, "-") || j.Branch == "HEAD" {
		return wrong
	}
	_, err := j.repo.run(ctx, "check-ref-format", "refs/heads/"+j.Branch)
	var failed *gitError
	if errors.As(err, &failed) {
		return wrong
	}
	return err
}

// checkRemote refuses what git would take for an option, and names the remotes
// that there are instead of an unknown one.
func (j *job) checkRemote(ctx context.Context) error {
	switch {
	case j.Remote == "":
		return nil
	case len(j.Remote) > 2048 || strings.HasPrefix(j.Remote, "-") || strings.ContainsFunc(j.Remote, unicode.IsControl):
		return &UsageError{why: fmt.Sprintf("%.80q is not a remote", j.Remote), hint: "--push takes the name of a remote, such as origin, or its URL"}
	case strings.ContainsAny(j.Remote, ":/"):
		return nil // a URL or a path
	}
	out, err := j.repo.run(ctx, "remote")
	if err != nil {
		return fmt.Errorf("listing the remotes: %w", err)
	}
	names := strings.Fields(out)
	if slices.Contains(names, j.Remote) {
		return nil
	}
	hint := "the repository has no remotes: git remote add " + j.Remote + " URL"
	if len(names) > 0 {
		hint = "there are: " + strings.Join(names, ", ")
	}
	return &UsageError{why: fmt.Sprintf("the repository has no remote %s", j.Remote), hint: hint}
}
