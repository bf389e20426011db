package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
)

type kind int

const (
	kindOperator kind = iota
	kindHost
	kindGuest
)

// Machine is one container: the operator, a host, or a guest that plays the
// system inside a VM.
type Machine struct {
	Name string
	Addr string // IPv4 address in the lab's network

	lab    *Lab
	kind   kind
	daemon bool     // a host with the multi-user Nix daemon
	bare   bool     // a host that nobody has set up; starts only when told to
	host   *Machine // whose store a guest shares

	mu    sync.Mutex
	first process // the container's first process, while it runs
}

// plan lists the machines of a lab with l.hosts hosts. Even hosts have the
// multi-user Nix daemon, odd ones root's own store. Both container guests share
// the store of host1. Up starts and sets up all but `bare` and `builder`, which
// only builds for others and has the daemon.
func (l *Lab) plan() {
	l.machines = []*Machine{{Name: "operator", Addr: operatorAddr, kind: kindOperator}}
	for n := 1; n <= l.hosts; n++ {
		l.machines = append(l.machines, &Machine{
			Name: "host" + strconv.Itoa(n), Addr: hostAddr(n), kind: kindHost, daemon: n%2 == 0,
		})
	}
	l.machines = append(l.machines, &Machine{Name: "bare", Addr: bareAddr, kind: kindHost, bare: true},
		&Machine{Name: "builder", Addr: builderAddr, kind: kindHost, bare: true, daemon: true})
	for n := 1; n <= 2; n++ {
		l.machines = append(l.machines, &Machine{
			Name: "guest" + strconv.Itoa(n), Addr: guestAddr(n), kind: kindGuest, host: l.machines[1],
		})
	}
	for _, m := range l.machines {
		m.lab = l
	}
}

// id names what the lab makes outside of its root: machine names and control
// groups. Labs in other roots have other ids.
func (l *Lab) id() string {
	if l.root == DefaultRoot {
		return "ferrylab"
	}
	sum := sha256.Sum256([]byte(l.root))
	return "ferrylab-" + hex.EncodeToString(sum[:3])
}

// Path is where the machine's p is on this machine. A guest's /nix/store is not
// there but at its host's Path.
func (m *Machine) Path(p string) string {
	return filepath.Join(m.lab.path("machines", m.Name, "root"), p)
}

func (m *Machine) mount() error {
	return overlay(m.lab.rootfs, m.lab.path("machines", m.Name))
}

// Running reports whether the container runs.
func (m *Machine) Running() bool {
	_, ok := m.leader()
	return ok
}

// Cmd is a command for a machine.
type Cmd struct {
	Args   []string
	Dir    string   // default: the user's home
	Env    []string // NAME=value, added to a clean login environment
	User   string   // default root
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// TTY gives the command a terminal; its output goes to Stdout, and what
	// Stdin yields is typed into it.
	TTY bool
	// Cancel is sent to the command's process group when the context ends;
	// default SIGTERM. SIGKILL follows 10 s later.
	Cancel syscall.Signal
}

// RunError is a command that ended with another status than 0.
type RunError struct {
	Machine  string
	Args     []string
	ExitCode int    // -1: ended by a signal
	Stderr   string // its last 4 KiB, also when Cmd.Stderr got it all
	Err      error
}

func (e *RunError) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Machine, strings.Join(e.Args, " "), e.Err)
	if e.Stderr != "" {
		s += "\n" + e.Stderr
	}
	return s
}

func (e *RunError) Unwrap() error { return e.Err }

// Run runs a command inside the machine. It enters the container's namespaces
// and not by SSH, whose connections tests count. The error is a *RunError if
// the command ended with another status than 0.
func (m *Machine) Run(ctx context.Context, c Cmd) error {
	cmd, err := m.command(ctx, c)
	if err != nil {
		return err
	}
	end := &tail{limit: 4096}
	if c.TTY {
		err = runTTY(cmd, c, end)
	} else {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, io.Writer(end)
		if c.Stderr != nil {
			cmd.Stderr = io.MultiWriter(c.Stderr, end)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		err = cmd.Run()
	}
	if err == nil {
		return nil
	}
	code := -1
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	}
	return &RunError{Machine: m.Name, Args: c.Args, ExitCode: code, Stderr: end.String(), Err: err}
}

// command is the nsenter command for c, with its environment.
func (m *Machine) command(ctx context.Context, c Cmd) (*exec.Cmd, error) {
	argv, env, err := m.argv(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	sig := c.Cancel
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, sig) }
	cmd.WaitDelay = 10 * time.Second
	return cmd, nil
}

// argv is what to execute on this machine to run c inside m. (nsenter hands
// the command's exit status on.)
func (m *Machine) argv(c Cmd) (argv, env []string, err error) {
	first, ok := m.leader()
	if !ok {
		return nil, nil, fmt.Errorf("%s does not run", m.Name)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, nil, err
	}
	user, home := c.User, "/root"
	if user == "" {
		user = "root"
	}
	if user != "root" {
		home = "/home/" + user
	}
	dir := c.Dir
	if dir == "" {
		dir = home
	}
	env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home, "USER=" + user, "LOGNAME=" + user, "SHELL=/bin/bash", "LANG=C.UTF-8",
	}, c.Env...)
	if c.TTY {
		env = append(env, "TERM=xterm-256color")
	}
	argv = []string{nsenter, "--target", strconv.Itoa(first.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--", "env", "--chdir=" + dir}
	if user != "root" {
		argv = append(argv, "runuser", "-u", user, "--")
	}
	return append(argv, c.Args...), env, nil
}

// runTTY runs cmd as the foreground process of a new terminal.
func runTTY(cmd *exec.Cmd, c Cmd, end io.Writer) error {
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		return err
	}
	defer f.Close()
	if c.Stdin != nil {
		go func() { _, _ = io.Copy(f, c.Stdin) }()
	}
	out := end
	if c.Stdout != nil {
		out = io.MultiWriter(c.Stdout, end)
	}
	done := make(chan struct{})
	// Ends with EIO when the last process has closed the terminal.
	go func() { _, _ = io.Copy(out, f); close(done) }()
	err = cmd.Wait()
	select {
	case <-done:
	case <-time.After(2 * time.Second): // something in the background keeps it open
	}
	return err
}

// Output runs a command as root and returns its standard output without the
// white space around it.
func (m *Machine) Output(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := m.Run(ctx, Cmd{Args: args, Stdout: &out})
	return strings.TrimSpace(out.String()), err
}

// Install copies a file of this machine to dstPath in m, owned by root.
func (m *Machine) Install(ctx context.Context, srcFile, dstPath string, mode fs.FileMode) error {
	src, err := os.Open(srcFile)
	if err != nil {
		return err
	}
	defer src.Close()
	// By way of the container: directories like /run are mounts inside it.
	return m.Run(ctx, Cmd{
		Args:  []string{"install", "-D", "-m", fmt.Sprintf("%o", mode.Perm()), "/dev/stdin", dstPath},
		Stdin: src,
	})
}

// Exec replaces this process by a command inside m, with its standard streams.
// It returns only if that fails.
func (m *Machine) Exec(c Cmd) error {
	argv, env, err := m.argv(c)
	if err != nil {
		return err
	}
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+term)
	}
	return syscall.Exec(argv[0], argv, env)
}
