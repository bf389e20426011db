//go:build lab

package remote

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ferry/internal/remote/remotetest"

	"github.com/creack/pty"
)

// On a terminal ssh can ask (here, about an unknown key) and gets the answer; Ctrl-C afterwards ends neither the connection nor what runs
// over it.
// nix-community/nixos-cli#121
func TestSSHAsksOnTheTerminal(t *testing.T) {
	if os.Getenv("FERRY_TEST_TERMINAL") != "" {
		onTerminal(t)
		return
	}
	s := remotetest.Start(t)
	s.Write(t, "known_hosts", "")
	cmd := exec.Command(os.Args[0], "-test.run", "^TestSSHAsksOnTheTerminal$")
	cmd.Env = append(os.Environ(), "FERRY_TEST_TERMINAL=1")
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	var mu sync.Mutex
	var screen bytes.Buffer
	go func() {
		for buf := make([]byte, 1024); ; {
			n, err := terminal.Read(buf)
			mu.Lock()
			screen.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	shows := func(text string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(screen.String(), text)
		}
	}
	defer func() {
		if t.Failed() {
			t.Logf("on the terminal:\n%s", screen.String())
		}
	}()
	answer := func(question, keys string) {
		remotetest.WaitFor(t, "it says "+question, shows(question))
		if _, err := terminal.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	answer("continue connecting", "yes\n")
	answer("READY", "\x03")
	remotetest.WaitFor(t, "it has run on", shows("RAN ON"))
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if n := s.Connections(t); n != 1 {
		t.Errorf("%d connections", n)
	}
	if !strings.Contains(s.Read(t, "known_hosts"), "ssh-ed25519") {
		t.Error("the key was not accepted by ssh itself")
	}
}

// onTerminal is the process in the terminal's foreground.
func onTerminal(t *testing.T) {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	c := dial(t, box())
	p, err := c.Start(remotetest.Within(t, 20*time.Second), Command{Args: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("READY")
	select {
	case <-interrupts:
	case <-time.After(20 * time.Second):
		t.Fatal("no Ctrl-C came")
	}
	// Whatever it ended is gone by the time that a later signal is handled.
	_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
	<-interrupts
	_ = p.Stdin.Close()
	if err := p.Wait(); err != nil {
		t.Errorf("what ran: %v", err)
	}
	if got := output(t, c, "echo", "RAN", "ON"); got != "RAN ON\n" {
		t.Errorf("got %q", got)
	}
	fmt.Println("RAN ON")
}
