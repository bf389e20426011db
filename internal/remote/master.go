package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// handshakes is how often a connection is tried that sshd drops before the
// login, as it does at random when many come at once (MaxStartups).
const handshakes = 5

const (
	// loginLimit is a little more than the two minutes of sshd's LoginGraceTime.
	// ConnectTimeout covers, by version, only the server's greeting or the keys'
	// exchange too: a machine that freezes later would be waited for for ever.
	loginLimit = 150 * time.Second
	// controlLimit bounds what is asked of a master, which is a process here.
	controlLimit = 10 * time.Second
)

// master is the connection that the sessions share. It is opened explicitly:
// parallel clients with ControlMaster=auto would each open one.
type master struct {
	s       *ssh
	path    string // of the socket
	options []string
	pid     int
	theirs  bool       // another process has opened it meanwhile
	output  []*os.File // ends of pipes that background processes write to
}

// option is the path as a value of ControlPath, where % means something.
func (m *master) option() string { return strings.ReplaceAll(m.path, "%", "%%") }

// open logs in and leaves ssh in the background with the connection. ssh asks
// its questions on the terminal meanwhile, so it stays in our process group
// until then; afterwards it has a session of its own and Ctrl-C does not reach
// it.
func (m *master) open(ctx context.Context) error {
	own := append([]string{"-M", "-N", "-f", "-T", "-x", "-o", "ControlMaster=yes", "-o", "ControlPersist=no",
		"-o", "ControlPath=" + m.option(), "-o", "ClearAllForwardings=yes"}, m.options...)
	messages, err := m.login(ctx, m.s.args(own...))
	if err != nil {
		return err
	}
	if strings.Contains(messages, "already exists, disabling multiplexing") {
		m.theirs = true
		return nil
	}
	var alive bool
	if m.pid, alive = m.check(ctx); !alive {
		return m.s.failure(ctx, &exec.ExitError{}, "Connection closed right after the login\n"+messages)
	}
	return nil
}

// openPersistent lets the user's own settings open the connection, which then
// stays as long as those say.
func (m *master) openPersistent(ctx context.Context) error {
	own := append([]string{"-T"}, m.options...)
	_, err := m.login(ctx, m.s.argsFor(own, "true"))
	return err
}

func (m *master) login(ctx context.Context, args []string) (string, error) {
	limit := m.s.limit
	if limit == 0 {
		limit = loginLimit
	}
	own, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.Multiplier = 500*time.Millisecond, 2 // 7.5 s in all
	messages, err := backoff.Retry(own, func() (string, error) {
		messages, err := m.try(own, args)
		var dropped *ConnectError
		if err != nil && !(errors.As(err, &dropped) && dropped.Kind == Dropped) {
			err = backoff.Permanent(err)
		}
		return messages, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(handshakes))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	if err != nil && own.Err() != nil && ctx.Err() == nil {
		e := NewConnectError(m.s.addr, messages)
		e.Kind, e.cause = Unreachable, fmt.Errorf("the login did not end within %s", limit)
		err = e
	}
	return messages, err
}

// try runs ssh until it has logged in. A jump host's ssh keeps our end of the
// messages open as long as the connection lives, so only the process itself is
// waited for, and the reading goes on until close.
func (m *master) try(ctx context.Context, args []string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("starting ssh: %w", err)
	}
	messages, read := &tail{}, make(chan struct{})
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return "", m.s.failure(ctx, err, "")
	}
	m.output = append(m.output, r)
	go func() {
		defer close(read)
		copyMessages(r, messages, m.s.stderr)
	}()
	if err = cmd.Wait(); err == nil {
		return messages.String(), nil
	}
	select {
	case <-read:
	case <-time.After(time.Second): // something else still holds the pipe
	}
	return messages.String(), m.s.failure(ctx, err, messages.String())
}

var masterPid = regexp.MustCompile(`pid=(\d+)`)

// check asks whether the connection is there, and for the process that holds
// it (0: not told).
func (m *master) check(ctx context.Context) (pid int, alive bool) {
	var out bytes.Buffer
	if m.control(ctx, "check", &out) != nil {
		return 0, false
	}
	if found := masterPid.FindSubmatch(out.Bytes()); found != nil {
		pid, _ = strconv.Atoi(string(found[1]))
	}
	return pid, true
}

func (m *master) alive(ctx context.Context) bool {
	_, alive := m.check(ctx)
	return alive
}

func (m *master) control(ctx context.Context, what string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", m.s.args("-O", what, "-o", "ControlPath="+m.option())...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, time.Second
	return cmd.Run()
}

// close ends the connection, also when the run was interrupted.
func (m *master) close() error {
	defer func() {
		for _, f := range m.output {
			_ = f.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if m.control(ctx, "exit", nil) == nil {
		return nil
	}
	if _, err := os.Lstat(m.path); errors.Is(err, os.ErrNotExist) {
		return nil // it ended before, and took its socket with it
	}
	return m.kill()
}

// kill ends a master that does not answer, if the process is still that one.
func (m *master) kill() error {
	if m.pid == 0 {
		return nil
	}
	shown, err := exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(m.pid)).Output()
	if err != nil || !bytes.Contains(shown, []byte(m.path)) {
		return nil
	}
	if err := syscall.Kill(m.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending the connection to %s: %w", m.s.addr, err)
	}
	return nil
}
