package flakeupdate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

const (
	// treePrefix begins the names of the work trees made here, by which those of
	// killed runs are known.
	treePrefix = "ferry-flake-update-"
	lockName   = "ferry-flake-update.lock"
	// privateRefs hold what was fetched while a run needs it.
	privateRefs = "refs/ferry/flake-update/"
)

// repository is the one with the flake.
type repository struct {
	git
	common string // its directory with refs and objects
	prefix string // of the flake's directory inside, "" or with a slash at its end
}

// openRepository finds the repository that dir is in, which may be a bare one;
// sub is the flake's directory below dir.
func openRepository(ctx context.Context, dir, sub string) (*repository, error) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil, &UsageError{why: fmt.Sprintf("%s is not a directory", dir), hint: "--flake takes the directory of a flake in a git repository, or a bare repository"}
	}
	// In a hook of git they would lead to another repository than dir's.
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"} {
		if os.Getenv(name) != "" {
			return nil, &stateError{why: name + " is set in the environment", hint: "run it without that, for example with `env -u " + name + "`"}
		}
	}
	r := &repository{git: git{dir: dir, env: withoutHooks()}}
	r.env = append(r.env, "GIT_LFS_SKIP_SMUDGE=1") // no large file matters to a lock file
	r.common, err = r.run(ctx, "rev-parse", "--path-format=absolute", "--git-common-dir")
	var failed *gitError
	switch {
	case errors.As(err, &failed) && strings.Contains(failed.said, "not a git repository"):
		return nil, &stateError{why: fmt.Sprintf("%s is in no git repository", dir), hint: "flake-update commits the lock file, so the flake must be in one"}
	case err != nil:
		return nil, fmt.Errorf("looking at the repository: %w", err)
	}
	below, err := r.run(ctx, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, fmt.Errorf("looking at the repository: %w", err)
	}
	r.prefix = slashed(path.Join(below, sub))
	who, err := r.identity(ctx)
	r.env = append(r.env, who...)
	return r, err
}

func slashed(dir string) string {
	if dir == "." || dir == "" {
		return ""
	}
	return dir + "/"
}

// lock keeps other runs out of the repository until unlock is called.
func (r *repository) lock() (unlock func(), err error) {
	l := flock.New(filepath.Join(r.common, lockName))
	got, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the repository: %w", err)
	}
	if !got {
		return nil, &BusyError{repository: r.common}
	}
	return func() { _ = l.Unlock() }, nil
}

// worktree is one that the repository knows.
type worktree struct {
	path   string
	branch string // refs/heads/…; empty: none
	bare   bool
}

func (r *repository) worktrees(ctx context.Context) ([]worktree, error) {
	out, err := r.run(ctx, "worktree", "list", "--porcelain")
	if err != nil {
		return nil, fmt.Errorf("listing the work trees: %w", err)
	}
	var trees []worktree
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		if key == "worktree" {
			trees = append(trees, worktree{path: value})
		} else if n := len(trees) - 1; n >= 0 && key == "branch" {
			trees[n].branch = value
		} else if n >= 0 && key == "bare" {
			trees[n].bare = true
		}
	}
	return trees, nil
}

// tidy removes what a killed run left. The lock is held, so nobody uses it.
func (r *repository) tidy(ctx context.Context) ([]worktree, error) {
	trees, err := r.worktrees(ctx)
	if err != nil {
		return nil, err
	}
	var kept []worktree
	for _, t := range trees {
		if strings.HasPrefix(filepath.Base(t.path), treePrefix) {
			r.removeTree(ctx, t.path)
		} else {
			kept = append(kept, t)
		}
	}
	_, err = r.run(ctx, "worktree", "prune")
	return kept, err
}

func (r *repository) removeTree(ctx context.Context, dir string) {
	// Twice: also one that is locked, as a half-made one is.
	_, _ = r.run(ctx, "worktree", "remove", "--force", "--force", dir)
	_ = os.RemoveAll(dir)
	_, _ = r.run(ctx, "worktree", "prune")
}

// checkout makes a work tree of a commit, on no branch.
func (r *repository) checkout(ctx context.Context, commit string) (tree git, err error) {
	dir, err := os.MkdirTemp("", treePrefix)
	if err != nil {
		return git{}, fmt.Errorf("making a work tree: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // macOS's /tmp
		return git{}, fmt.Errorf("making a work tree: %w", err)
	}
	tree = git{dir: dir, env: r.env}
	if _, err := r.run(ctx, "worktree", "add", "--detach", "--quiet", "--", dir, commit); err != nil {
		return tree, fmt.Errorf("making a work tree: %w", err)
	}
	return tree, nil
}

// findFlake goes up from the directory in question to the one that has the flake
// in a commit, as Nix does.
func (r *repository) findFlake(ctx context.Context, commit string) error {
	for dir := r.prefix; ; dir = slashed(path.Dir(strings.TrimSuffix(dir, "/"))) {
		_, ok, err := r.file(ctx, commit, dir+"flake.nix")
		switch {
		case err != nil:
			return fmt.Errorf("looking for flake.nix: %w", err)
		case ok:
			r.prefix = dir
			return nil
		case dir == "":
			return &stateError{why: fmt.Sprintf("commit %.10s has no %sflake.nix", commit, r.prefix), hint: "name the flake's directory with --flake DIR; in a bare repository with --flake 'REPOSITORY?dir=DIR'"}
		}
	}
}
