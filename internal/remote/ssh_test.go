//go:build lab

package remote

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ferry/internal/remote/remotetest"

	"ferry/internal/microvm"
)

func TestOneConnection(t *testing.T) {
	s := remotetest.Start(t)
	c := dial(t, box())
	if err := c.Root(remotetest.Within(t, 10*time.Second)); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { _ = output(t, c, "true") })
	}
	all.Wait()
	if n := s.Connections(t); n != 1 {
		t.Errorf("sshd saw %d connections, want 1", n)
	}
}

// NixOS/nixpkgs#168322, #495484
func TestSocketPathIsShort(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir, remove, err := NewSocketDir()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	remotetest.Start(t)
	o := box()
	o.Dir = dir
	c, err := Dial(remotetest.Within(t, 10*time.Second), o)
	if err != nil {
		t.Fatal(err)
	}
	path := c.(*machine).w.(*ssh).master.path
	// ssh binds PATH.RANDOM first, with 16 characters of randomness; macOS
	// allows 104 bytes. Directory names here have at most ten digits.
	longest := len("/tmp/ferry-") + 10 + len("/") + 10 + len("/s") + 17
	if !strings.HasPrefix(path, "/tmp/ferry-") || len(path)+17 > longest || longest >= 90 {
		t.Errorf("%q is too long", path)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != ownerFile {
		t.Errorf("after Close: %v, %v", left, err)
	}
	remove()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there", dir)
	}
}

// The user multiplexes with a lasting connection: it serves us, and stays.
// NixOS/nixpkgs#495907
func TestUsersMultiplexingIsUsed(t *testing.T) {
	s := remotetest.Start(t)
	s.Configure(t, "ControlMaster auto", "ControlPath "+shortDir(t)+"/%C", "ControlPersist 60")
	words := strings.Fields(os.Getenv("NIX_SSHOPTS"))
	t.Cleanup(func() { mustRun(t, append(append([]string{"ssh"}, words...), "-O", "exit", "box")...) })
	for range 2 { // opened by us, then found
		c := dial(t, box())
		if got := output(t, c, "echo", "a b"); got != "a b\n" {
			t.Errorf("got %q", got)
		}
		if n := c.NixCopy(); len(n.Env) != 1 || n.Env[0] != "NIX_SSHOPTS=-o ConnectTimeout=10 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -F "+s.Config {
			t.Errorf("nix gets %q", n.Env)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	mustRun(t, append(append([]string{"ssh"}, words...), "-O", "check", "box")...)
	if n := s.Connections(t); n != 1 {
		t.Errorf("sshd saw %d connections, want 1", n)
	}
	fresh := box()
	fresh.Fresh = true
	_ = output(t, dial(t, fresh), "true")
	if n := s.Connections(t); n != 2 {
		t.Errorf("with a fresh one sshd saw %d connections, want 2", n)
	}
}

// shortDir is for sockets: t.TempDir has the test's name in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(socketParent, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Without ControlPersist somebody has to hold the connection, at the user's
// path; that is ours to end.
// NixOS/nixpkgs#495907
func TestUsersMultiplexingWithoutPersistIsUsed(t *testing.T) {
	s := remotetest.Start(t)
	dir := shortDir(t)
	s.Configure(t, "ControlMaster auto", "ControlPath "+dir+"/%C")
	c := dial(t, box())
	for range 3 {
		_ = output(t, c, "true")
	}
	sockets, _ := filepath.Glob(dir + "/*")
	if n := s.Connections(t); n != 1 || len(sockets) != 1 {
		t.Errorf("%d connections, sockets %v", n, sockets)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	remotetest.WaitFor(t, "the socket is gone", func() bool { left, _ := filepath.Glob(dir + "/*"); return len(left) == 0 })
}

// A master that the user has opened by hand is used though new connections are
// not shared, and stays.
// NixOS/nixpkgs#495907
func TestUsersOwnMasterIsUsed(t *testing.T) {
	s := remotetest.Start(t)
	s.Configure(t, "ControlPath "+shortDir(t)+"/%C")
	ssh := append([]string{"ssh"}, strings.Fields(os.Getenv("NIX_SSHOPTS"))...)
	_ = output(t, dial(t, box()), "true")
	if n := s.Connections(t); n != 1 {
		t.Fatalf("%d connections before", n)
	}
	mustRun(t, append(ssh, "-MNf", "box")...)
	t.Cleanup(func() { mustRun(t, append(ssh, "-O", "exit", "box")...) })
	c := dial(t, box())
	_ = output(t, c, "true")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	mustRun(t, append(ssh, "-O", "check", "box")...)
	if n := s.Connections(t); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// sshd drops handshakes at random when too many are under way.
// nix-community/infra#1417
func TestDroppedHandshakesAreTriedAgain(t *testing.T) {
	s := remotetest.Start(t, "MaxStartups 1:100:1")
	// A client that does not log in holds the one place, until sshd has dropped
	// a handshake of ours.
	holder, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.Port))
	if err != nil {
		t.Fatal(err)
	}
	remotetest.WaitFor(t, "the place is taken", func() bool { return s.Connections(t) == 1 })
	dropped := func() bool { return strings.Contains(s.Read(t, "sshd.log"), "drop connection") }
	let := make(chan bool)
	go func() {
		defer close(let)
		for range 1000 {
			if dropped() {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		_ = holder.Close()
	}()
	_ = output(t, dial(t, box()), "true")
	<-let
	if !dropped() {
		t.Error("nothing was dropped: the test shows nothing")
	}
}

// nix-community/nixos-cli#121
func TestUnknownHostKeyIsRefused(t *testing.T) {
	s := remotetest.Start(t)
	s.Write(t, "known_hosts", "")
	_, err := Dial(remotetest.Within(t, 10*time.Second), box())
	e := connectError(t, err, UnknownHostKey)
	if !strings.Contains(e.Hint(), "`ssh box`") || strings.Contains(strings.ToLower(e.Hint()), "stricthostkeychecking") {
		t.Errorf("hint: %s", e.Hint())
	}
	if n := s.Connections(t); n != 1 {
		t.Errorf("tried %d times", n)
	}
	if got := s.Read(t, "known_hosts"); got != "" {
		t.Errorf("known_hosts was written: %q", got)
	}
}

// nix-community/nixos-cli#121
func TestChangedHostKeyIsRefused(t *testing.T) {
	s := remotetest.Start(t)
	s.Write(t, "known_hosts", strings.Replace(s.Read(t, "known_hosts"), strings.TrimSpace(s.Read(t, "host.pub")), s.Read(t, "user.pub"), 1))
	_, err := Dial(remotetest.Within(t, 10*time.Second), box())
	connectError(t, err, ChangedHostKey)
}

func TestLoginRefused(t *testing.T) {
	s := remotetest.Start(t)
	s.Write(t, "authorized_keys", "")
	_, err := Dial(remotetest.Within(t, 10*time.Second), box())
	connectError(t, err, AuthFailed)
	if n := s.Connections(t); n != 1 {
		t.Errorf("tried %d times", n)
	}
}

func TestUnreachable(t *testing.T) {
	s := remotetest.Start(t)
	_, err := Dial(remotetest.Within(t, 10*time.Second), Options{Address: microvm.Address{Host: "127.0.0.1", Port: remotetest.FreePort(t)}})
	e := connectError(t, err, Unreachable)
	if !strings.Contains(e.Error(), "refused") || !strings.Contains(e.Hint(), "ssh -p") {
		t.Errorf("%v; %s", e, e.Hint())
	}
	// Behind a jump host that is down the message is another.
	s.Configure(t, "Host behind", "ProxyJump 127.0.0.1:"+strconv.Itoa(remotetest.FreePort(t)))
	_, err = Dial(remotetest.Within(t, 20*time.Second), Options{Address: microvm.Address{Host: "behind"}})
	connectError(t, err, Unreachable)
}

func TestBadConfiguration(t *testing.T) {
	s := remotetest.Start(t)
	s.Configure(t, "NoSuchOption yes")
	_, err := Dial(remotetest.Within(t, 10*time.Second), box())
	connectError(t, err, BadConfig)
}

func TestPortInAddress(t *testing.T) {
	s := remotetest.Start(t)
	t.Setenv("NIX_SSHOPTS", "-F "+s.Config+" -p 1")
	c := dial(t, Options{Address: microvm.Address{Host: "127.0.0.1", Port: s.Port}})
	_ = output(t, c, "true")
	n := c.NixCopy()
	if !strings.HasPrefix(n.Store, "ssh-ng://127.0.0.1?") || !strings.Contains(n.Env[0], " -p "+strconv.Itoa(s.Port)+" -F ") {
		t.Errorf("%+v", n)
	}
}

// What nix gets has to run on our connection.
func TestNixSharesTheConnection(t *testing.T) {
	s := remotetest.Start(t)
	c := dial(t, box())
	n := c.NixCopy()
	if n.Store != "ssh-ng://box?max-connections=1" {
		t.Errorf("store %s", n.Store)
	}
	words := strings.Fields(strings.TrimPrefix(n.Env[0], "NIX_SSHOPTS="))
	mustRun(t, append(append([]string{"ssh", "box", "-x"}, words...), "true")...)
	if got := s.Connections(t); got != 1 {
		t.Errorf("%d connections", got)
	}
}

func TestJumpHost(t *testing.T) {
	s := remotetest.Start(t)
	s.Configure(t, "Host behind", "ProxyJump box", "HostName 127.0.0.1", "Port "+strconv.Itoa(s.Port))
	c := dial(t, Options{Address: microvm.Address{Host: "behind"}})
	_ = output(t, c, "true")
	_ = output(t, c, "true")
	if n := s.Connections(t); n != 2 {
		t.Errorf("%d connections, want one and the jump host's", n)
	}
}

// Settings for typing at a shell must not break sessions.
func TestInteractiveSettings(t *testing.T) {
	s := remotetest.Start(t)
	port := strconv.Itoa(s.Port)
	s.Configure(t, "RemoteCommand exec zsh", "RequestTTY force", "SessionType none", "StdinNull yes", "LogLevel QUIET",
		"LocalForward "+port+" 127.0.0.1:1", "ExitOnForwardFailure yes", "ForwardX11 yes")
	c := dial(t, box())
	var out bytes.Buffer
	err := c.Run(remotetest.Within(t, 10*time.Second), Command{Args: []string{"sh", "-c", "cat; tty"}, Stdin: strings.NewReader("in "), Stdout: &out})
	var e *ExitError
	if !errors.As(err, &e) || out.String() != "in not a tty\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// A connection that is gone is an error, not a reason to connect again.
func TestMasterGone(t *testing.T) {
	s := remotetest.Start(t)
	c := dial(t, box())
	p, err := c.Start(remotetest.Within(t, 20*time.Second), Command{Args: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	m := c.(*machine).w.(*ssh).master
	if m.pid == 0 {
		t.Fatal("the master's process is not known")
	}
	if err := syscall.Kill(m.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	connectError(t, p.Wait(), Dropped)
	connectError(t, c.Run(remotetest.Within(t, 10*time.Second), Command{Args: []string{"true"}}), Dropped)
	if n := s.Connections(t); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A master that does not answer is killed by Close.
func TestMasterHangs(t *testing.T) {
	remotetest.Start(t)
	c, err := Dial(remotetest.Within(t, 10*time.Second), box())
	if err != nil {
		t.Fatal(err)
	}
	pid := c.(*machine).w.(*ssh).master.pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	remotetest.WaitFor(t, "the master is dead", func() bool { return !running(pid) })
}

// running: a process, and not one that only waits to be collected.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func TestCloseEndsTheMaster(t *testing.T) {
	remotetest.Start(t)
	c := dial(t, box())
	pid := c.(*machine).w.(*ssh).master.pid
	if !running(pid) {
		t.Fatal("no master")
	}
	for range 2 { // a second Close is harmless
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	remotetest.WaitFor(t, "the master has ended", func() bool { return !running(pid) })
}

func TestInterruptedDial(t *testing.T) {
	silent := remotetest.FreePort(t)
	t.Setenv("NIX_SSHOPTS", "-F none -o ConnectTimeout=30 -o ProxyCommand=cat")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := Dial(ctx, Options{Address: microvm.Address{Host: "127.0.0.1", Port: silent}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > grace {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestNixAuthority(t *testing.T) {
	for address, want := range map[string]string{
		"web":                      "web",
		"op@web":                   "op@web",
		"ssh://op@web:2222":        "op@web",
		"ssh://op@[fe80::1]:22":    "op@[fe80::1]",
		"op@[fe80::1%eth0]":        "op@[fe80::1%25eth0]",
		"[2001:db8::1]":            "[2001:db8::1]",
		"root@server1.example.com": "root@server1.example.com",
	} {
		a, err := microvm.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := (&ssh{addr: a}).nix(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
