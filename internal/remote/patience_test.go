package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/shell"
)

// shellWire is a machine whose login shell runs a script of the test's in place
// of each command, which is in $0.
type shellWire struct {
	local
	script string
}

func (w shellWire) prepare(args []string) (*child, error) {
	return &child{
		argv: []string{"sh", "-c", w.script, shell.Quote(args...)},
		attr: &syscall.SysProcAttr{Setpgid: true}, stop: stopGroup,
	}, nil
}

const noEnd = "while :; do echo Welcome to host1, and have a nice day; done"

// shellMachine has a login shell with the given start-up files. The limit
// is short only where it is to pass.
func shellMachine(startup string, limit time.Duration) *machine {
	o := Options{Address: microvm.Address{User: "root", Host: "host1"}, Sudo: true, AnswerLimit: limit}
	return newMachine(o, shellWire{script: startup + "\neval \"$0\""})
}

func wantShellError(t *testing.T, err error, why string) {
	t.Helper()
	var shell *ShellError
	if !errors.As(err, &shell) || !strings.Contains(err.Error(), "root@host1: ") || !strings.Contains(shell.Why, why) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(shell.Hint(), "~/.bashrc") || !strings.Contains(shell.Hint(), "`ssh root@host1 true`") {
		t.Errorf("hint %s", shell.Hint())
	}
}

// Start-up files that print without end, or wait, end the question for root, with a
// reason that names them. What they print within bounds is skipped.
func TestStartUpFilesOfALoginShell(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, c := range map[string]struct {
		startup string
		limit   time.Duration
		why     string
	}{
		"without end":             {noEnd, time.Hour, "prints more than 64 KiB"},
		"without end on one line": {"while :; do printf Welcome; done", time.Hour, "prints more than 64 KiB"},
		"waiting":                 {"sleep 600", 50 * time.Millisecond, "within 50ms"},
		"messages without end":    {"while :; do echo Welcome >&2; done", 50 * time.Millisecond, "within 50ms"},
	} {
		t.Run(name, func(t *testing.T) { wantShellError(t, shellMachine(c.startup, c.limit).Root(ctx), c.why) })
	}
	if os.Getuid() != 0 {
		t.Skip("the rest needs root, which the answers are about")
	}
	if err := shellMachine("echo Welcome; printf 'no newline'; echo", time.Hour).Root(ctx); err != nil {
		t.Errorf("after some words: %v", err)
	}
}

// The reasons why something ended are in plain words, and still what they were.
func TestInterruptedInPlainWords(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	ours, stop := context.WithCancelCause(t.Context())
	stop(io.ErrClosedPipe)
	for _, c := range []struct {
		ctx           context.Context
		is            error
		alone, copied string
	}{
		{canceled, context.Canceled, "interrupted", "copying was interrupted"},
		{late, context.DeadlineExceeded, "it took too long", "copying took too long"},
		{ours, io.ErrClosedPipe, io.ErrClosedPipe.Error(), "copying was ended: " + io.ErrClosedPipe.Error()},
	} {
		for what, want := range map[string]string{"": c.alone, "copying": c.copied} {
			if err := Interrupted(c.ctx, what); err.Error() != want || !errors.Is(err, c.is) || !errors.Is(err, c.ctx.Err()) {
				t.Errorf("%v, wanted %s", err, want)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := shellMachine("", 0).Start(ctx, Command{Args: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.Wait(); !errors.Is(err, context.Canceled) || err.Error() != "root@host1: `cat` was interrupted" {
		t.Errorf("got %v", err)
	}
}

// Progress keeps something going; without any it is ended.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Time, 1)
		p := NewPatience(time.Minute, func() { ended <- time.Now() })
		begin := time.Now()
		r, w := io.Pipe()
		go func() {
			for range 10 {
				time.Sleep(50 * time.Second)
				_, _ = w.Write([]byte("x"))
			}
			_ = w.Close()
		}()
		_, _ = io.Copy(io.Discard, p.Reader(r))
		if took := (<-ended).Sub(begin); took != 560*time.Second {
			t.Errorf("ended after %s", took)
		}
		p.Seen() // too late
	})
	never := NewPatience(time.Hour, func() { t.Error("ended") })
	var all strings.Builder
	big := strings.Repeat("x", 200<<10)
	if n, err := never.Writer(&all).Write([]byte(big)); n != len(big) || err != nil || all.String() != big {
		t.Errorf("%d bytes, %v", n, err)
	}
	never.Stop()
}
