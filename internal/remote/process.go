package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long a process gets between being asked to stop and being
// killed.
const grace = 5 * time.Second

// child is a local process that runs a command here or elsewhere.
type child struct {
	argv   []string
	attr   *syscall.SysProcAttr
	stop   func(p *os.Process) error // asks it to stop
	log    string                    // file with ssh's own messages, or empty
	stderr *tail
}

// Process is a started command.
type Process struct {
	Stdin  io.WriteCloser // close it to end the input
	Stdout io.Reader      // ends when the command has closed its output
	done   chan struct{}
	err    error
}

// Wait waits until the command has ended and returns what Run would. It may be
// called more than once, and before Stdout has been read to its end.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

func withPreamble(preamble []byte, rest io.Reader) io.Reader {
	if rest == nil {
		return bytes.NewReader(preamble)
	}
	return io.MultiReader(bytes.NewReader(preamble), rest)
}

// command makes the exec.Cmd of a child, without its input and output.
func (m *machine) command(ctx context.Context, r resolved) (*exec.Cmd, *child, error) {
	c, err := m.w.prepare(r.words)
	if err != nil {
		return nil, nil, err
	}
	c.stderr = &tail{}
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.SysProcAttr = c.attr
	cmd.WaitDelay = grace
	cmd.Cancel = func() error { return c.stop(cmd.Process) }
	cmd.Stderr = io.Writer(c.stderr)
	if r.Stderr != nil {
		cmd.Stderr = io.MultiWriter(c.stderr, r.Stderr)
	}
	return cmd, c, nil
}

func (m *machine) run(ctx context.Context, r resolved) error {
	cmd, c, err := m.command(ctx, r)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout = r.input(), r.Stdout
	return m.verdict(ctx, r, c, cmd.Run())
}

func (m *machine) start(ctx context.Context, r resolved, ended func()) (*Process, error) {
	cmd, c, err := m.command(ctx, r)
	if err != nil {
		return nil, err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", shown(r.Command), err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		_, _ = inR.Close(), inW.Close()
		return nil, fmt.Errorf("starting %s: %w", shown(r.Command), err)
	}
	cmd.Stdin, cmd.Stdout = inR, outW
	err = cmd.Start()
	_, _ = inR.Close(), outW.Close()
	if err == nil {
		_, err = inW.Write(r.preamble) // far below a pipe's buffer
	}
	if err != nil && cmd.Process == nil {
		_, _ = inW.Close(), outR.Close()
		return nil, m.verdict(ctx, r, c, err)
	}
	p := &Process{Stdin: inW, Stdout: outR, done: make(chan struct{})}
	// A child that we may not signal still sees its input end.
	unhook := context.AfterFunc(ctx, func() { _ = inW.Close() })
	go func() {
		p.err = m.verdict(ctx, r, c, cmd.Wait())
		unhook()
		if ctx.Err() != nil { // something it left behind may hold the output open
			_ = outR.SetReadDeadline(time.Now())
		}
		ended()
		close(p.done)
	}()
	return p, nil
}

// verdict turns what exec says into what a caller can act on.
func (m *machine) verdict(ctx context.Context, r resolved, c *child, err error) error {
	if c.log != "" {
		defer func() { _ = os.Remove(c.log) }()
	}
	// The command has succeeded, but something still feeds its input or holds
	// its output open.
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: `%s` was interrupted: %w", m.o.Address, shown(r.Command), context.Cause(ctx))
	}
	code := 127
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		if lost := m.w.lost(ctx, c, code); lost != nil {
			return lost
		}
	case errors.Is(err, os.ErrPermission):
		code = 126
	case !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: running `%s`: %w", m.o.Address, shown(r.Command), err)
	}
	messages := c.stderr.String()
	if messages == "" && exit == nil {
		messages = err.Error()
	}
	return &ExitError{Host: m.o.Address.String(), CommandLine: shown(r.Command), Code: code, Stderr: messages}
}
