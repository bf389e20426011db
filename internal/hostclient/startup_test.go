package hostclient

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"ferry/internal/helperbin"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/shell"
)

// shellConn is a machine whose login shell runs start-up files of the test's before
// each command. Nothing goes through sudo.
type shellConn struct {
	remote.Conn
	startup string
}

func loginShell(t *testing.T, startup string) shellConn {
	t.Helper()
	c, err := remote.Dial(t.Context(), remote.Options{Address: microvm.Address{Local: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return shellConn{Conn: c, startup: startup}
}

func (c shellConn) Address() microvm.Address { return microvm.Address{User: "root", Host: "host1"} }

func (c shellConn) through(cmd remote.Command) remote.Command {
	cmd.AsRoot = false
	cmd.Args = []string{"sh", "-c", c.startup + "\neval \"$0\"", shell.Quote(cmd.Args...)}
	return cmd
}

func (c shellConn) Start(ctx context.Context, cmd remote.Command) (*remote.Process, error) {
	return c.Conn.Start(ctx, c.through(cmd))
}

func (c shellConn) Run(ctx context.Context, cmd remote.Command) error {
	return c.Conn.Run(ctx, c.through(cmd))
}

func wantShellError(t *testing.T, err error, why string) {
	t.Helper()
	var shell *remote.ShellError
	if !errors.As(err, &shell) || !strings.Contains(err.Error(), "root@host1: ") || !strings.Contains(shell.Why, why) {
		t.Fatalf("got %v", err)
	}
}

// Start-up files that print without end, or wait, end what needs an answer, with
// a reason that names them. What they print within bounds is skipped.
func TestStartUpFilesOfALoginShell(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	helper := func(startup string, limit time.Duration) error {
		p, missing, err := starter{c: loginShell(t, startup), base: "/nonexistent", limit: limit}.try(ctx, helperbin.Program{SHA256: "none"}, nil)
		if err == nil && p == nil && missing == nil {
			return errors.New("nothing came of it")
		}
		return err
	}
	upload := func(startup string, limit time.Duration) error {
		h, err := helperbin.FromFile(os.Args[0])
		if err != nil {
			return err
		}
		return starter{c: loginShell(t, startup), base: "/nonexistent", limit: limit}.upload(ctx, h, false)
	}
	const noEnd = "while :; do echo Welcome to host1, and have a nice day; done"
	for name, c := range map[string]struct {
		way     func(startup string, limit time.Duration) error
		startup string
		limit   time.Duration
		why     string
	}{
		"helper, without end":             {helper, noEnd, time.Hour, "prints more than 64 KiB"},
		"helper, without end on one line": {helper, "while :; do printf Welcome; done", time.Hour, "prints more than 64 KiB"},
		"helper, waiting":                 {helper, "sleep 600", 50 * time.Millisecond, "within 50ms"},
		"helper, messages without end":    {helper, "while :; do echo Welcome >&2; done", 50 * time.Millisecond, "within 50ms"},
		"upload, without end":             {upload, noEnd, time.Hour, "prints more than 64 KiB"},
		"upload, without end on one line": {upload, "while :; do printf Welcome; done", time.Hour, "prints more than 64 KiB"},
	} {
		t.Run(name, func(t *testing.T) { wantShellError(t, c.way(c.startup, c.limit), c.why) })
	}
	if os.Getuid() != 0 {
		t.Skip("the rest needs root, which the answers are about")
	}
	if err := helper("echo Welcome; printf 'no newline'; echo", time.Hour); err != nil {
		t.Errorf("after some words: %v", err)
	}
}

// A host may say anything before the helper does, and instead of it.
func FuzzHelperAnswer(f *testing.F) {
	f.Add("Welcome!\nferry-helper: ok\n{}")
	f.Add("ferry-helper: missing gzip Linux x86_64\n")
	f.Add("ferry-helper: refused \x1b[31m\n")
	f.Fuzz(func(t *testing.T, said string) {
		r := strings.NewReader(said)
		answer, err := readAnswer(bufio.NewReader(r))
		if err == nil && !strings.Contains(said, "ferry-helper: ") {
			t.Errorf("%q was an answer: %q", said, answer)
		}
		if strings.Contains(answer, "\n") {
			t.Errorf("%q", answer)
		}
	})
}
