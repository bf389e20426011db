package nix

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"al.essio.dev/pkg/shellescape"
)

const (
	// termGrace is how long a cancelled program may take to end after SIGTERM;
	// then it is killed. An ssh-ng copy is known to ignore SIGTERM.
	termGrace = 5 * time.Second
	// drainGrace is how long stderr is still read after the program has ended:
	// an ssh that the user's configuration keeps in the background as a master
	// holds it open for ever.
	drainGrace = 250 * time.Millisecond
)

// CommandError is a Nix program that failed.
type CommandError struct {
	Command  string   // the command line, quoted for a shell
	ExitCode int      // -1 when a signal ended it
	Stderr   []string // the last lines, at most maxTailLines, without colours
	Err      error    // what os/exec says
}

func (e *CommandError) Error() string {
	msg := shortened(e.Command) + ": " + e.ended()
	if len(e.Stderr) > 0 {
		msg += "\n" + strings.Join(e.Stderr, "\n")
	}
	return msg
}

// ended is how the program ended, in words for people.
func (e *CommandError) ended() string {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return fmt.Sprintf("ended by signal %d (%s)", status.Signal(), status.Signal())
		}
	}
	return fmt.Sprint(e.Err)
}

// Unwrap gives what os/exec says.
func (e *CommandError) Unwrap() error { return e.Err }

// shortened keeps a command line with thousands of paths printable.
func shortened(command string) string {
	const most = 600
	if len(command) > most {
		return command[:most] + "…"
	}
	return command
}

// command is one run of one of Nix's programs.
type command struct {
	program string // "nix", "nix-store", "nix-env"
	args    []string
	env     []string // added to Nix.Env
	stdin   io.Reader
	stdout  io.Writer // nil: run returns it
	line    func(string)
	// mayAsk leaves the program in ferry's own process group, so that a git or
	// ssh that it starts can ask for a passphrase on the terminal: in a group of
	// its own it would be stopped by SIGTTIN. Only the program itself is
	// signalled then, which ends its children in turn.
	mayAsk bool
}

// nixArgs puts the features that ferry's calls need before a subcommand of nix.
func nixArgs(args ...string) []string {
	return append([]string{"--extra-experimental-features", "nix-command flakes"}, args...)
}

// run runs c to its end. It returns stdout (unless c.stdout takes it) and the
// stderr that was kept, also when it fails. The error is the context's, ErrNoNix
// or one with a *CommandError.
func (n *Nix) run(ctx context.Context, c command) (stdout []byte, stderr []string, err error) {
	path, err := n.find(c.program)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, path, c.args...)
	cmd.Env = append(append(os.Environ(), n.Env...), c.env...)
	cmd.Stdin = c.stdin
	var buf bytes.Buffer
	cmd.Stdout = &buf
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	killGroup := terminate(cmd, !c.mayAsk, cmp.Or(n.grace, termGrace))
	errs := &lineWriter{each: c.line}
	if n.Log != nil {
		errs.log = &planless{to: n.Log}
	}
	err = runWithStderr(cmd, errs)
	if ctx.Err() != nil {
		killGroup()
		return nil, errs.lines, fmt.Errorf("%s was stopped: %w", shortened(quote(c)), context.Cause(ctx))
	}
	if err != nil {
		return buf.Bytes(), errs.lines, explained(&CommandError{
			Command: quote(c), ExitCode: cmd.ProcessState.ExitCode(), Stderr: tail(errs.lines), Err: err,
		})
	}
	return buf.Bytes(), errs.lines, nil
}

func quote(c command) string {
	return shellescape.QuoteCommand(append([]string{c.program}, c.args...))
}

// terminate makes cancellation send SIGTERM, to the whole process group when
// group is set, and SIGKILL after grace. The returned function kills what is
// left of the group after the program itself has ended.
func terminate(cmd *exec.Cmd, group bool, grace time.Duration) (killGroup func()) {
	cmd.WaitDelay = grace
	if !group {
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		return func() {}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	return func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
}

// runWithStderr runs cmd with its stderr going to w. The pipe is ours rather
// than os/exec's, since os/exec would wait for every process that inherited it.
func runWithStderr(cmd *exec.Cmd, w *lineWriter) error {
	r, pw, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer r.Close()
	cmd.Stderr = pw
	if err := cmd.Start(); err != nil {
		pw.Close()
		return err
	}
	pw.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(w, r)
	}()
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well, only a child still held stdout
	}
	_ = r.SetReadDeadline(time.Now().Add(drainGrace))
	<-done
	w.flush()
	return err
}
