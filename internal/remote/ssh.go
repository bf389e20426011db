package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ferry/internal/microvm"
)

// ssh runs commands over OpenSSH, all of them on one connection.
type ssh struct {
	addr    microvm.Address
	stderr  io.Writer
	words   []string // the user's NIX_SSHOPTS
	dir     string   // ours: the socket and the logs of sessions
	rmdir   func()
	session []string // options of every session
	env     []string // options for the sessions that nix starts
	master  *master  // nil: the user's own, which we leave alone
	socket  string   // of the connection that is shared
	limit   time.Duration
}

func dialSSH(ctx context.Context, o Options) (*ssh, error) {
	s := &ssh{addr: o.Address, stderr: o.Stderr, words: sshOptions(), rmdir: func() {}, limit: o.LoginLimit}
	parent := o.Dir
	if parent == "" {
		var err error
		if parent, s.rmdir, err = NewSocketDir(); err != nil {
			return nil, err
		}
	}
	err := s.connect(ctx, parent, o)
	if err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *ssh) connect(ctx context.Context, parent string, o Options) error {
	var err error
	if s.dir, err = os.MkdirTemp(parent, ""); err != nil {
		return fmt.Errorf("making a directory for ssh's socket: %w", err)
	}
	cfg, err := readConfig(ctx, s)
	if err != nil {
		return err
	}
	m := &master{s: s, path: filepath.Join(s.dir, "s"), options: append(cfg.sane(), cfg.defaults()...)}
	if o.Batch {
		m.options = append(m.options, "-o", "BatchMode=yes")
	}
	if theirs := cfg.controlPath(); theirs != "" && !o.Fresh {
		shared := &master{s: s, path: theirs, options: m.options}
		s.socket = theirs
		// A session of a connection that ends may connect anew.
		s.session, s.env = m.options, cfg.defaults()
		if shared.alive(ctx) {
			return nil
		}
		if cfg.multiplexes() && cfg.persists() {
			return shared.openPersistent(ctx)
		}
		if cfg.multiplexes() {
			m = shared
		}
	}
	s.socket = m.path
	if err := m.open(ctx); err != nil {
		return err
	}
	// A session of a dead master is to fail, not to connect anew. This stands
	// before what the user gives: for ssh the first value counts.
	s.env = []string{"-o", "ControlMaster=no", "-o", "ControlPath=" + m.option(), "-o", "ProxyCommand=false"}
	s.session = append(append(s.env[:len(s.env):len(s.env)], "-o", "ClearAllForwardings=yes"), cfg.sane()...)
	if m.theirs {
		s.env, s.session = cfg.defaults(), m.options
		return nil
	}
	s.master = m
	return nil
}

// sshOptions are those that the user has for every ssh of Nix's, and of ferry's.
func sshOptions() []string { return strings.Fields(os.Getenv("NIX_SSHOPTS")) }

// args are ssh's arguments: ours, the port, the user's, the destination, the
// command.
func (s *ssh) args(own ...string) []string {
	return s.argsFor(own, "")
}

func (s *ssh) argsFor(own []string, line string) []string {
	a := append([]string{}, own...)
	a = append(a, s.port()...)
	a = append(a, s.words...)
	a = append(a, "--", s.addr.Destination())
	if line != "" {
		a = append(a, line)
	}
	return a
}

func (s *ssh) port() []string {
	if s.addr.Port == 0 {
		return nil
	}
	return []string{"-p", strconv.Itoa(s.addr.Port)}
}

func (s *ssh) prepare(args []string) (*child, error) {
	line, err := loginLine(args)
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp(s.dir, "log-")
	if err != nil {
		return nil, fmt.Errorf("starting ssh: %w", err)
	}
	_ = log.Close()
	own := append([]string{"-T", "-x", "-E", log.Name()}, s.session...)
	return &child{
		argv: append([]string{"ssh"}, s.argsFor(own, line)...),
		log:  log.Name(),
		// Without the terminal, Ctrl-C reaches ferry only, and ssh cannot stop
		// to wait for an answer that nobody is asked for.
		attr: &syscall.SysProcAttr{Setsid: true},
		stop: stopSession,
	}, nil
}

// stopSession ends an ssh process. One that shares a connection notices SIGTERM
// only when it next hears from there (OpenSSH 9.2), so it does not get long.
func stopSession(p *os.Process) error {
	time.AfterFunc(300*time.Millisecond, func() { _ = p.Kill() })
	return p.Signal(syscall.SIGTERM)
}

// lost tells ssh's own failures, which exit with 255, from a command that
// exits so: ssh's messages go to a file of their own.
func (s *ssh) lost(ctx context.Context, c *child, code int) error {
	if code != 255 {
		return nil
	}
	text := readEnd(c.log)
	messages := &tail{}
	_, _ = messages.Write(text)
	if s.stderr != nil {
		_, _ = s.stderr.Write(text)
	}
	kind := classify(messages.String())
	if kind == Other && (s.master == nil || s.master.alive(ctx)) {
		return nil
	}
	e := NewConnectError(s.addr, messages.String())
	if kind == Other { // only the master knows more, and its messages went nowhere
		e.Kind, e.cause = Dropped, errCut
	}
	return e
}

var errCut = errors.New("it was cut, or nothing came through any more")

// readEnd reads the end of ssh's messages, which the other side has a say in.
func readEnd(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if fi, err := f.Stat(); err == nil && fi.Size() > tailSize {
		_, _ = f.Seek(-tailSize, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(f, tailSize))
	return text
}

// failure is the error of an ssh that did not run a command.
func (s *ssh) failure(ctx context.Context, err error, messages string) error {
	if ctx.Err() != nil {
		return Interrupted(ctx, "connecting to "+s.addr.String())
	}
	e := NewConnectError(s.addr, messages)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		e.cause = err
	}
	return e
}

// nix adds our options before the user's, for the same reason as in connect.
func (s *ssh) nix() (string, []string) {
	host := s.addr.Destination()
	if strings.Contains(s.addr.Host, ":") {
		host = strings.TrimSuffix(host, s.addr.Host) + "[" + strings.ReplaceAll(s.addr.Host, "%", "%25") + "]"
	}
	words := append(append(s.env[:len(s.env):len(s.env)], s.port()...), s.words...)
	if len(words) == 0 {
		return host, nil
	}
	return host, []string{"NIX_SSHOPTS=" + strings.Join(words, " ")}
}

func (s *ssh) close() error {
	var err error
	if s.master != nil {
		err = s.master.close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
	s.rmdir()
	return err
}
