package flakeupdate

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/nix"
)

// fixture is a repository with a flake of two inputs, a remote, and a Nix that
// locks the inputs to what rev says.
type fixture struct {
	t            *testing.T
	dir, remote  string
	rev          map[string]string // of the inputs, as their servers have them
	subdir       string            // of the flake
	failure      error             // of Nix
	onNix        func(tree string) // called while Nix runs
	said         []string
	nixRan, left int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_NOSYSTEM": "1", "TMPDIR": t.TempDir(),
		"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
	} {
		t.Setenv(name, value)
	}
	f := &fixture{t: t, dir: filepath.Join(home, "infra"), remote: filepath.Join(home, "infra.git"), rev: map[string]string{"dep": "1", "other": "1"}}
	write(t, filepath.Join(home, ".gitconfig"), "[user]\n\tname = Me\n\temail = me@example.org\n[init]\n\tdefaultBranch = main\n")
	f.git("", "init", "-q", f.dir)
	f.write("flake.nix", "{ }")
	f.write("flake.lock", lockOf(f.rev))
	f.commit("begin")
	f.git("", "clone", "-q", "--bare", f.dir, f.remote)
	f.git(f.dir, "remote", "add", "origin", f.remote)
	t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "ferry-*")); len(left) != f.left {
			t.Errorf("left behind: %q", left)
		}
	})
	return f
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) write(name, content string) {
	f.t.Helper()
	write(f.t, filepath.Join(f.dir, name), content)
}

func (f *fixture) git(dir string, args ...string) string {
	f.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (f *fixture) commit(subject string) string {
	f.t.Helper()
	f.git(f.dir, "add", "-A")
	f.git(f.dir, "commit", "-qm", subject)
	return f.git(f.dir, "rev-parse", "HEAD")
}

// commitTo commits a file to a branch of a repository by way of a clone.
func (f *fixture) commitTo(repository, branch, name, content string) {
	f.t.Helper()
	clone := f.t.TempDir()
	f.git("", "clone", "-q", repository, clone)
	f.git(clone, "checkout", "-q", branch)
	write(f.t, filepath.Join(clone, name), content)
	f.git(clone, "add", "-A")
	f.git(clone, "commit", "-qm", "Change "+name)
	f.git(clone, "push", "-q", "origin", branch)
}

// tip is where a branch is, empty where there is none.
func (f *fixture) tip(dir, branch string) string {
	f.t.Helper()
	return f.git(dir, "for-each-ref", "--format=%(objectname)", "refs/heads/"+branch)
}

func lockOf(rev map[string]string) string {
	return fmt.Sprintf(`{"nodes":{"dep":{"locked":{"type":"git","url":"file:///dep","rev":%q,"lastModified":1767225600}},"other":{"locked":{"type":"github","owner":"o","repo":"r","rev":%q}},"root":{"inputs":{"dep":"dep","other":"other"}}},"root":"root","version":7}
`, rev["dep"], rev["other"])
}

func (f *fixture) Version(context.Context) (nix.Version, error) { return nix.OldestVersion(), nil }

// FlakeUpdate does what Nix does with --commit-lock-file.
func (f *fixture) FlakeUpdate(ctx context.Context, u nix.FlakeUpdate) error {
	f.nixRan++
	ref, err := url.Parse(u.Flake)
	if err != nil || ref.Scheme != "git+file" || ref.Query().Get("dir") != f.subdir {
		return fmt.Errorf("the flake %s, %w", u.Flake, err)
	}
	if f.onNix != nil {
		f.onNix(ref.Path)
	}
	if f.failure != nil {
		return f.failure
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	g := git{dir: ref.Path, env: u.Env}
	name := filepath.Join(f.subdir, "flake.lock")
	content, err := os.ReadFile(filepath.Join(ref.Path, name))
	if err != nil {
		return err
	}
	now, err := parseLock(string(content))
	if err != nil {
		return err
	}
	wanted := map[string]string{}
	for input, l := range now {
		wanted[input] = l.Rev
		if len(u.Inputs) == 0 || slices.Contains(u.Inputs, input) {
			wanted[input] = f.rev[input]
		}
	}
	if lockOf(wanted) == string(content) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(ref.Path, name), []byte(lockOf(wanted)), 0o644); err != nil {
		return err
	}
	_, err = g.run(ctx, "commit", "-qm", "flake.lock: Update", "--", name)
	return err
}

func (f *fixture) Step(subject, format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(subject+": "+format, args...))
}

func (f *fixture) run(change func(*Request)) (*Result, error) {
	f.t.Helper()
	r := Request{Flake: f.dir, Branch: "flake-update"}
	if change != nil {
		change(&r)
	}
	return (&Updater{Nix: f, Report: f}).Run(f.t.Context(), r)
}

func toOrigin(r *Request) { r.Remote = "origin" }

func (f *fixture) want(outcome Outcome, change func(*Request)) *Result {
	f.t.Helper()
	r, err := f.run(change)
	if err != nil || r.Outcome != outcome {
		f.t.Fatalf("%+v, %v; want %s", r, err, outcome)
	}
	if (r.Commit == "") != (outcome == Unchanged) {
		f.t.Errorf("%s with the commit %q", outcome, r.Commit)
	}
	return r
}

func (f *fixture) fails(change func(*Request), text string) error {
	f.t.Helper()
	before := f.state()
	r, err := f.run(change)
	if err == nil || !strings.Contains(err.Error(), text) {
		f.t.Fatalf("%+v, %v; want %q", r, err, text)
	}
	if after := f.state(); after != before {
		f.t.Errorf("a run that failed changed something: before\n%s\nafter\n%s", before, after)
	}
	return err
}

// state is all that a run must not change when it fails: refs, HEAD, index and
// work tree here, refs at the remote.
func (f *fixture) state() string {
	f.t.Helper()
	return strings.Join([]string{
		f.git(f.dir, "for-each-ref"), f.git(f.dir, "rev-parse", "--symbolic-full-name", "HEAD"), f.git(f.dir, "status", "--porcelain", "--ignored"),
		f.git(f.dir, "ls-files", "--stage"), f.git(f.dir, "worktree", "list"), f.git(f.remote, "for-each-ref"),
	}, "\n")
}
