//go:build lab

package remotetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server is a real sshd on a loopback port, with keys and a client
// configuration of its own, which NIX_SSHOPTS names. Its alias is "box".
type Server struct {
	Dir    string
	Port   int
	Log    string
	Config string // the client's ssh_config
}

// Alias is what the client's configuration calls a Server.
const Alias = "box"

const sshdPath = "/usr/sbin/sshd"

// Start starts sshd with further lines of configuration, and ends it with
// the test.
func Start(t *testing.T, lines ...string) *Server {
	t.Helper()
	if _, err := os.Stat(sshdPath); err != nil {
		t.Fatalf("these tests need sshd (apt-get install openssh-server): %v", err)
	}
	if os.Geteuid() == 0 { // sshd's privilege separation wants it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{Dir: t.TempDir(), Port: FreePort(t)}
	s.Log, s.Config = s.File("sshd.log"), s.File("ssh_config")
	for _, name := range []string{"host", "user"} {
		mustRun(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.File(name))
	}
	hostKey := s.Read(t, "host.pub")
	s.Write(t, "authorized_keys", s.Read(t, "user.pub"))
	s.Write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, hostKey))
	s.Write(t, "sshd_config", strings.Join(append(lines,
		fmt.Sprint("Port ", s.Port), "ListenAddress 127.0.0.1",
		"HostKey "+s.File("host"), "AuthorizedKeysFile "+s.File("authorized_keys"),
		"SetEnv SHLVL=2", // keeps bash from reading the ~/.bashrc of whoever runs the tests
		"UsePAM no", "StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin yes", "PidFile none", "LogLevel VERBOSE", ""), "\n"))
	s.Configure(t)
	s.Restart(t)
	return s
}

func (s *Server) File(name string) string { return filepath.Join(s.Dir, name) }

func (s *Server) Write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.File(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) Read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(s.File(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Configure writes the client's configuration, with further lines for "box".
func (s *Server) Configure(t *testing.T, lines ...string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	all := append([]string{"Host " + Alias, "HostName 127.0.0.1", fmt.Sprint("Port ", s.Port), "Host *", "User " + me.Username,
		"IdentityFile " + s.File("user"), "IdentitiesOnly yes", "UserKnownHostsFile " + s.File("known_hosts"),
		"GlobalKnownHostsFile none"}, lines...)
	s.Write(t, "ssh_config", strings.Join(all, "\n")+"\n")
	t.Setenv("NIX_SSHOPTS", "-F "+s.Config)
}

func (s *Server) Restart(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sshdPath, "-D", "-e", "-f", s.File("sshd_config"))
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
			t.Logf("sshd said:\n%s", s.Read(t, "sshd.log"))
		}
	})
	WaitFor(t, "sshd listens", func() bool { return strings.Contains(s.Read(t, "sshd.log"), "Server listening") })
}

// Connections is how many sshd has seen.
func (s *Server) Connections(t *testing.T) int {
	return strings.Count(s.Read(t, "sshd.log"), "\nConnection from ")
}

// Within is a context for so long at most.
func Within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// WaitFor polls until the condition holds, for 20 s at most.
func WaitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

// FreePort is a port that nobody listens on.
func FreePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Sessions is how many sshd has seen.
func (s *Server) Sessions(t *testing.T) int {
	return strings.Count(s.Read(t, "sshd.log"), "Starting session: ")
}

func mustRun(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", args[0], err, out)
	}
}
