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

// job is a command about to run.
type job struct {
	r   resolved
	cmd *exec.Cmd
	c   *child
	io  streams
}

func (m *machine) job(ctx context.Context, r resolved) (*job, error) {
	c, err := m.w.prepare(r.words)
	if err != nil {
		return nil, err
	}
	c.stderr = &tail{}
	j := &job{r: r, c: c, cmd: exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)}
	j.cmd.SysProcAttr = c.attr
	j.cmd.WaitDelay = grace
	j.cmd.Cancel = func() error { return c.stop(j.cmd.Process) }
	messages := io.Writer(c.stderr)
	if r.Stderr != nil {
		messages = io.MultiWriter(c.stderr, r.Stderr)
	}
	return j, j.attach(&j.cmd.Stderr, messages)
}

// attach gives the child one of its outputs. The fields of exec.Cmd must not
// hold a nil *os.File.
func (j *job) attach(to *io.Writer, w io.Writer) error {
	if w == nil {
		return nil
	}
	f, err := j.io.output(w)
	if err != nil {
		return fmt.Errorf("running `%s`: %w", shown(j.r.Command), err)
	}
	*to = f
	return nil
}

func (m *machine) run(ctx context.Context, r resolved) error {
	j, err := m.job(ctx, r)
	if err == nil {
		err = j.attach(&j.cmd.Stdout, r.Stdout)
	}
	if err == nil && r.input() != nil {
		j.cmd.Stdin, err = j.io.input(r.input())
	}
	if err == nil {
		err = j.cmd.Start()
	}
	if j != nil {
		j.io.started()
	}
	if err != nil {
		return m.notStarted(ctx, j, r, err)
	}
	err = j.cmd.Wait()
	broken := j.io.finish(ctx)
	return m.verdict(ctx, j, err, broken)
}

func (m *machine) start(ctx context.Context, r resolved, ended func()) (*Process, error) {
	j, err := m.job(ctx, r)
	if err != nil {
		return nil, m.notStarted(ctx, j, r, err)
	}
	in, inW, err := j.io.pipe(true)
	if err != nil {
		return nil, m.notStarted(ctx, j, r, err)
	}
	out, outR, err := j.io.pipe(false)
	if err != nil {
		return nil, m.notStarted(ctx, j, r, err)
	}
	j.cmd.Stdin, j.cmd.Stdout = in, out
	err = j.cmd.Start()
	j.io.started()
	if err != nil {
		_, _ = inW.Close(), outR.Close()
		return nil, m.notStarted(ctx, j, r, err)
	}
	_, _ = inW.Write(r.preamble) // far below a pipe's buffer; if nobody reads it, Wait says why
	p := &Process{Stdin: inW, Stdout: outR, done: make(chan struct{})}
	// A child that we may not signal still sees its input end.
	unhook := context.AfterFunc(ctx, func() { _ = inW.Close() })
	go func() {
		err := j.cmd.Wait()
		broken := j.io.finish(ctx)
		p.err = m.verdict(ctx, j, err, broken)
		unhook()
		if ctx.Err() != nil { // something it left behind may hold the output open
			_ = outR.SetReadDeadline(time.Now())
		}
		ended()
		close(p.done)
	}()
	return p, nil
}

// notStarted is the error of a command that never ran.
func (m *machine) notStarted(ctx context.Context, j *job, r resolved, err error) error {
	if j == nil {
		return err
	}
	j.io.started()
	if j.c.log != "" {
		_ = os.Remove(j.c.log)
		if ctx.Err() != nil {
			return Interrupted(ctx, "starting ssh to "+m.o.Address.String())
		}
		return fmt.Errorf("starting ssh to %s: %w", m.o.Address, err)
	}
	if ctx.Err() != nil {
		return Interrupted(ctx, fmt.Sprintf("%s: `%s`", m.o.Address, shown(r.Command)))
	}
	e := &ExitError{Host: m.o.Address.String(), CommandLine: shown(r.Command), Code: 127, Stderr: err.Error()}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		e.Stderr = r.words[0] + ": not found"
	case errors.Is(err, os.ErrPermission):
		e.Code = 126
	default:
		return fmt.Errorf("%s: running `%s`: %w", m.o.Address, shown(r.Command), err)
	}
	return e
}

// verdict turns what exec says into what a caller can act on. broken is the
// error of a stream.
func (m *machine) verdict(ctx context.Context, j *job, err, broken error) error {
	if j.c.log != "" {
		defer func() { _ = os.Remove(j.c.log) }()
	}
	name := fmt.Sprintf("%s: `%s`", m.o.Address, shown(j.r.Command))
	var exit *exec.ExitError
	switch {
	case err == nil && broken == nil:
		return nil
	case ctx.Err() != nil:
		return Interrupted(ctx, name)
	case err == nil:
		return fmt.Errorf("%s: passing on its input or output: %w", name, broken)
	case !errors.As(err, &exit):
		return fmt.Errorf("%s: %w", name, err)
	}
	code := exit.ExitCode()
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	if lost := m.w.lost(ctx, j.c, code); lost != nil {
		return lost
	}
	return &ExitError{Host: m.o.Address.String(), CommandLine: shown(j.r.Command), Code: code, Stderr: j.c.stderr.String()}
}
