package flakeupdate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// stopGrace is how long a cancelled git may take to end after SIGTERM.
	stopGrace = 5 * time.Second
	maxSaid   = 2000 // bytes of git's messages that an error shows
)

// git runs git in a directory.
type git struct {
	dir string
	env []string // KEY=value, added to the process's environment
}

// gitError is a git that failed.
type gitError struct {
	verb   string
	code   int    // -1: a signal ended it
	stdout string // some commands say there what was wrong
	said   string // the end of stderr
	err    error
}

func (e *gitError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("git %s: %v", e.verb, e.err)
	}
	return fmt.Sprintf("git %s: %v\n%s", e.verb, e.err, e.said)
}

func (e *gitError) Unwrap() error { return e.err }

var errNoGit = errors.New("git was not found")

// run returns git's output without the new line at its end. Git stays in ferry's
// process group, so that it or its ssh can ask for a passphrase on a terminal.
func (g git) run(ctx context.Context, args ...string) (string, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return "", errNoGit
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"-C", g.dir}, args...)...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), g.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	out := strings.TrimRight(stdout.String(), "\n")
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("git %s was stopped: %w", args[0], context.Cause(ctx))
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return out, nil
	}
	said := strings.TrimSpace(stderr.String())
	if len(said) > maxSaid {
		said = "…" + said[len(said)-maxSaid:]
	}
	return "", &gitError{verb: args[0], code: cmd.ProcessState.ExitCode(), stdout: out, said: said, err: err}
}

// yes runs a command that answers by its exit status: 0 or 1.
func (g git) yes(ctx context.Context, args ...string) (bool, error) {
	_, err := g.run(ctx, args...)
	var failed *gitError
	if errors.As(err, &failed) && failed.code == 1 {
		return false, nil
	}
	return err == nil, err
}

// contains reports whether commit has ancestor in its history, or is it.
func (g git) contains(ctx context.Context, commit, ancestor string) (bool, error) {
	return g.yes(ctx, "merge-base", "--is-ancestor", ancestor, commit)
}

// commit resolves a revision; it is empty where there is none.
func (g git) commit(ctx context.Context, revision string) (string, error) {
	out, err := g.run(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	var failed *gitError
	if errors.As(err, &failed) && failed.code == 1 {
		return "", nil
	}
	return out, err
}

// file is a file of a commit; ok is false where it has none.
func (g git) file(ctx context.Context, commit, name string) (content string, ok bool, err error) {
	out, err := g.run(ctx, "ls-tree", "--full-tree", commit, "--", name)
	if err != nil || out == "" {
		return "", false, err
	}
	content, err = g.run(ctx, "cat-file", "blob", commit+":"+name)
	return content, err == nil, err
}

// withoutHooks keeps the repository's hooks from running, for git and for the
// git that Nix runs: they are made for a developer's work tree, and many need
// files that only that one has.
func withoutHooks() []string {
	n, err := strconv.Atoi(os.Getenv("GIT_CONFIG_COUNT"))
	if err != nil || n < 0 {
		n = 0
	}
	return []string{
		fmt.Sprintf("GIT_CONFIG_COUNT=%d", n+1),
		fmt.Sprintf("GIT_CONFIG_KEY_%d=core.hooksPath", n), fmt.Sprintf("GIT_CONFIG_VALUE_%d=/dev/null", n),
	}
}

// identity is who commits where git's configuration doesn't say: a timer on a
// server has nobody's. It is empty where git knows.
func (g git) identity(ctx context.Context) ([]string, error) {
	for _, who := range []string{"GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"} {
		_, err := g.run(ctx, "-c", "user.useConfigOnly=true", "var", who)
		var failed *gitError
		if errors.As(err, &failed) {
			host, err := os.Hostname()
			if err != nil || host == "" {
				host = "localhost"
			}
			email := "ferry@" + host
			return []string{"GIT_AUTHOR_NAME=ferry", "GIT_AUTHOR_EMAIL=" + email, "GIT_COMMITTER_NAME=ferry", "GIT_COMMITTER_EMAIL=" + email}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}
