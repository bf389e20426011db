package flakeupdate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferry/internal/nix"
)

// cleanupLimit bounds the removal of the work tree, also after a signal.
const cleanupLimit = 30 * time.Second

// Nix updates a lock file and commits it.
type Nix interface {
	Version(ctx context.Context) (nix.Version, error)
	FlakeUpdate(ctx context.Context, u nix.FlakeUpdate) error
}

// Report is told of progress.
type Report interface {
	Step(subject, format string, args ...any)
}

// Updater runs updates.
type Updater struct {
	Nix    Nix
	Report Report
}

// Request is one update.
type Request struct {
	Flake   string   // the flake's directory, or a bare repository, with ?dir=SUB
	Branch  string   // the branch for updates; it may not exist yet
	Remote  string   // where to push it: a remote's name or a URL; empty: nowhere
	Inputs  []string // those to update; none: all
	Options []string // for Nix
}

// job is a request under way.
type job struct {
	Request
	nix    Nix
	report Report
	repo   *repository
}

func (j *job) step(format string, args ...any) { j.report.Step("flake-update", format, args...) }

// shownRemote is the remote without a password in its URL.
func (j *job) shownRemote() string {
	if u, err := url.Parse(j.Remote); err == nil && u.User != nil {
		return u.Redacted()
	}
	return j.Remote
}

// Run updates the lock file, and moves the update branch, here and at the remote,
// if there is something to move it to. When it fails, no branch has moved, unless
// the error says otherwise. A *UsageError is a wrong request, a *BusyError another
// run that is under way.
func (u *Updater) Run(ctx context.Context, r Request) (*Result, error) {
	j := &job{Request: r, nix: u.Nix, report: u.Report}
	if err := j.open(ctx); err != nil {
		return nil, err
	}
	unlock, err := j.repo.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	trees, err := j.repo.tidy(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.notCheckedOut(trees); err != nil {
		return nil, err
	}
	defer j.forgetFetched(ctx)
	t, err := j.tips(ctx)
	if err != nil {
		return nil, err
	}
	return j.update(ctx, t)
}

// open checks the request, finds the repository and looks at Nix.
func (j *job) open(ctx context.Context) error {
	if err := checkInputs(j.Inputs); err != nil {
		return err
	}
	dir, sub, err := splitFlake(j.Flake)
	if err != nil {
		return err
	}
	if j.repo, err = openRepository(ctx, dir, sub); err != nil {
		return err
	}
	if err := j.checkBranch(ctx); err != nil {
		return err
	}
	if err := j.checkRemote(ctx); err != nil {
		return err
	}
	version, err := j.nix.Version(ctx)
	if err != nil {
		return err
	}
	return nix.CheckVersion(version, "this machine")
}

func (j *job) notCheckedOut(trees []worktree) error {
	for _, t := range trees {
		if t.branch == "refs/heads/"+j.Branch && !t.bare {
			return &stateError{
				why:  fmt.Sprintf("the branch %s is checked out in %s", j.Branch, t.path),
				hint: "a work tree would not notice that its branch moves: check out another branch there, or name another one with --branch",
			}
		}
	}
	return nil
}

// forgetFetched removes the private refs, also after a signal.
func (j *job) forgetFetched(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	for _, name := range []string{"base", "branch"} {
		_, _ = j.repo.run(ctx, "update-ref", "-d", privateRefs+name)
	}
}

// update makes the commit in a work tree of its own, and publishes it.
func (j *job) update(ctx context.Context, t tips) (*Result, error) {
	begin, merge, err := j.start(ctx, t)
	if err != nil {
		return nil, err
	}
	tree, err := j.repo.checkout(ctx, begin)
	defer j.removeTree(ctx, tree)
	if err != nil {
		return nil, err
	}
	if merge != "" {
		if err := j.merge(ctx, tree, t); err != nil {
			return nil, err
		}
		if begin, err = tree.commit(ctx, "HEAD"); err != nil {
			return nil, err
		}
	}
	if err := j.repo.findFlake(ctx, begin); err != nil {
		return nil, err
	}
	end, err := j.runNix(ctx, tree)
	if err != nil {
		return nil, err
	}
	moved, err := j.compare(ctx, begin, end)
	if err != nil {
		return nil, err
	}
	return j.publish(ctx, t, update{commit: end, changed: begin != end, inputs: moved})
}

func (j *job) removeTree(ctx context.Context, tree git) {
	if tree.dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	j.repo.removeTree(ctx, tree.dir)
}

// runNix updates the lock file in tree and returns the commit there.
func (j *job) runNix(ctx context.Context, tree git) (string, error) {
	j.step("updating %sflake.lock", j.repo.prefix)
	flake := url.URL{Scheme: "git+file", Path: tree.dir}
	if j.repo.prefix != "" {
		flake.RawQuery = url.Values{"dir": {strings.TrimSuffix(j.repo.prefix, "/")}}.Encode()
	}
	u := nix.FlakeUpdate{Flake: flake.String(), Inputs: j.Inputs, Options: j.Options, Env: tree.env}
	if err := j.nix.FlakeUpdate(ctx, u); err != nil {
		return "", fmt.Errorf("updating flake.lock: %w", err)
	}
	left, err := tree.run(ctx, "status", "--porcelain")
	if err != nil {
		return "", fmt.Errorf("looking at what Nix did: %w", err)
	}
	if left != "" {
		return "", fmt.Errorf("nix flake update left something uncommitted:\n%s", left)
	}
	return tree.commit(ctx, "HEAD")
}

// compare says what moved between the lock files of two commits, and checks that
// the inputs that were named exist.
func (j *job) compare(ctx context.Context, begin, end string) ([]Change, error) {
	var locks [2]map[string]*Locked
	for i, commit := range []string{begin, end} {
		content, _, err := j.repo.file(ctx, commit, j.repo.prefix+"flake.lock")
		if err != nil {
			return nil, fmt.Errorf("reading flake.lock: %w", err)
		}
		if locks[i], err = parseLock(content); err != nil {
			return nil, err
		}
	}
	for _, name := range j.Inputs {
		if _, ok := locks[1][name]; !ok {
			there := slices.DeleteFunc(slices.Sorted(maps.Keys(locks[1])), func(s string) bool { return strings.Contains(s, "/") })
			return nil, &UsageError{why: fmt.Sprintf("the flake has no input %s", name), hint: "there are: " + strings.Join(there, ", ")}
		}
	}
	return changes(locks[0], locks[1]), nil
}

// splitFlake reads DIR or DIR?dir=SUB.
func splitFlake(s string) (dir, sub string, err error) {
	dir, query, _ := strings.Cut(s, "?")
	if dir == "" {
		dir = "."
	}
	wrong := &UsageError{why: fmt.Sprintf("--flake=%.120q is not a directory", s), hint: "flake-update works in a repository on this machine: name the flake's directory in it"}
	if query != "" {
		values, err := url.ParseQuery(query)
		if err != nil || len(values) != 1 || len(values["dir"]) != 1 {
			return "", "", wrong
		}
		sub = values.Get("dir")
		if !filepath.IsLocal(sub) {
			return "", "", &UsageError{why: fmt.Sprintf("--flake=%.120q leaves the repository", s), hint: "?dir= takes a directory inside the repository"}
		}
	}
	if scheme, _, ok := strings.Cut(dir, ":"); ok && !strings.Contains(scheme, "/") {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return "", "", wrong // github:owner/repo and the like
		}
	}
	dir, err = filepath.Abs(dir)
	return dir, sub, err
}
