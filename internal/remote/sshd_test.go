//go:build lab

package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/microvm"
)

// server is a real sshd on a loopback port, with keys and a client
// configuration of its own, which NIX_SSHOPTS names. Its alias is "box".
type server struct {
	dir    string
	port   int
	log    string
	config string // the client's ssh_config
}

const sshdPath = "/usr/sbin/sshd"

// startSSHD starts sshd with further lines of configuration, and ends it with
// the test.
func startSSHD(t *testing.T, lines ...string) *server {
	t.Helper()
	if _, err := os.Stat(sshdPath); err != nil {
		t.Fatalf("these tests need sshd (apt-get install openssh-server): %v", err)
	}
	if os.Geteuid() == 0 { // sshd's privilege separation wants it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{dir: t.TempDir(), port: freePort(t)}
	s.log, s.config = s.file("sshd.log"), s.file("ssh_config")
	for _, name := range []string{"host", "user"} {
		mustRun(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.file(name))
	}
	hostKey := s.read(t, "host.pub")
	s.write(t, "authorized_keys", s.read(t, "user.pub"))
	s.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, hostKey))
	s.write(t, "sshd_config", strings.Join(append(lines,
		fmt.Sprint("Port ", s.port), "ListenAddress 127.0.0.1",
		"HostKey "+s.file("host"), "AuthorizedKeysFile "+s.file("authorized_keys"),
		"SetEnv SHLVL=2", // keeps bash from reading the ~/.bashrc of whoever runs the tests
		"UsePAM no", "StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin yes", "PidFile none", "LogLevel VERBOSE", ""), "\n"))
	s.configure(t)
	s.start(t)
	return s
}

func (s *server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *server) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *server) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(s.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// configure writes the client's configuration, with further lines for "box".
func (s *server) configure(t *testing.T, lines ...string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	all := append([]string{"Host box", "HostName 127.0.0.1", fmt.Sprint("Port ", s.port), "Host *", "User " + me.Username,
		"IdentityFile " + s.file("user"), "IdentitiesOnly yes", "UserKnownHostsFile " + s.file("known_hosts"),
		"GlobalKnownHostsFile none"}, lines...)
	s.write(t, "ssh_config", strings.Join(all, "\n")+"\n")
	t.Setenv("NIX_SSHOPTS", "-F "+s.config)
}

func (s *server) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sshdPath, "-D", "-e", "-f", s.file("sshd_config"))
	cmd.Stderr = log
	err = cmd.Start()
	_ = log.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.read(t, "sshd.log"))
		}
	})
	waitFor(t, "sshd listens", func() bool { return strings.Contains(s.read(t, "sshd.log"), "Server listening") })
}

// connections is how many sshd has seen.
func (s *server) connections(t *testing.T) int {
	return strings.Count(s.read(t, "sshd.log"), "\nConnection from ")
}

func (s *server) options() Options { return Options{Address: microvm.Address{Host: "box"}} }

func dial(t *testing.T, o Options) Conn {
	t.Helper()
	c, err := Dial(within(t, time.Minute), o)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// waitFor polls until the condition holds, for 20 s at most.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// output runs a command that must succeed.
func output(t *testing.T, c Conn, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Run(within(t, 30*time.Second), Command{Args: args, Stdout: &out}); err != nil {
		t.Fatalf("Run: %v", err)
	}
	return out.String()
}

// connectError fails unless err is a ConnectError of that kind.
func connectError(t *testing.T, err error, kind ConnectKind) *ConnectError {
	t.Helper()
	var e *ConnectError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), not a ConnectError", err, err)
	}
	if e.Kind != kind {
		t.Fatalf("kind %d, want %d: %v\n%s", e.Kind, kind, e, e.Stderr)
	}
	if e.Hint() == "" || strings.Contains(e.Error(), "\n") {
		t.Errorf("not one line with a hint: %q, %q", e.Error(), e.Hint())
	}
	return e
}
