//go:build lab

package remote

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/remote/remotetest"

	"ferry/internal/microvm"
)

const testPassword = remotetest.Password

// sudoMachines runs a test on every transport; see remotetest.SudoMachines.
func sudoMachines(t *testing.T, mode string, run func(t *testing.T, o Options, dir string)) {
	remotetest.SudoMachines(t, mode, func(t *testing.T, alias, dir string) {
		run(t, Options{Address: microvm.Address{Host: alias, Local: alias == ""}, Sudo: true}, dir)
	})
}

func TestSudoWithoutPassword(t *testing.T) {
	sudoMachines(t, "quiet", func(t *testing.T, o Options, _ string) {
		c := dial(t, o)
		asRoot(t, c)
		if c.SudoPassword() {
			t.Error("a password is said to be needed")
		}
		if store := c.NixCopy().Store; !o.Address.Local && !strings.HasSuffix(store, "&remote-program=sudo%20-n%20nix-daemon") {
			t.Errorf("store %s", store)
		}
	})
}

// asRoot runs commands as root and as oneself, with input and pipes.
func asRoot(t *testing.T, c Conn) {
	t.Helper()
	var out bytes.Buffer
	script := Command{Args: []string{"sh", "-c", `id -u; cat; echo "$1"`, "sh", "a 'b'\n!"}, AsRoot: true, Stdin: strings.NewReader("input\nmore\n"), Stdout: &out}
	if err := c.Run(remotetest.Within(t, 10*time.Second), script); err != nil {
		t.Fatal(err)
	}
	if out.String() != "0\ninput\nmore\na 'b'\n!\n" {
		t.Errorf("got %q", out.String())
	}
	p, err := c.Start(remotetest.Within(t, 10*time.Second), Command{Args: []string{"sh", "-c", "id -u; cat; exit 4"}, AsRoot: true})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(p.Stdin, "x")
	_ = p.Stdin.Close()
	got, err := io.ReadAll(p.Stdout)
	if string(got) != "0\nx" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	var e *ExitError
	if err := p.Wait(); !errors.As(err, &e) || e.Code != 4 || strings.Contains(err.Error(), "sudo") {
		t.Errorf("%v", err)
	}
	if got := output(t, c, "id", "-u"); got != "1000\n" {
		t.Errorf("an ordinary command ran as %s", got)
	}
}

// nix-community/colmena#120, serokell/deploy-rs#78
func TestSudoPasswordIsAskedOnceAndPassedOn(t *testing.T) {
	sudoMachines(t, "password", func(t *testing.T, o Options, dir string) {
		questions := 0
		o.AskPassword = func(prompt string) (string, error) {
			questions++
			if !strings.Contains(prompt, o.Address.String()) {
				t.Errorf("the prompt does not name the machine: %q", prompt)
			}
			return testPassword, nil
		}
		c := dial(t, o)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := c.Root(remotetest.Within(t, 20*time.Second)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		asRoot(t, c)
		if questions != 1 || !c.SudoPassword() {
			t.Errorf("%d questions, SudoPassword %v", questions, c.SudoPassword())
		}
		if strings.Contains(c.NixCopy().Store, "sudo") {
			t.Error("nix is told to use sudo, which it cannot")
		}
		if calls, err := os.ReadFile(filepath.Join(dir, "calls")); err != nil || bytes.Contains(calls, []byte(testPassword)) {
			t.Errorf("the password is among the arguments: %v", err)
		}
	})
}

// A rule lets the very command run without a password: then the password must
// not become the command's input.
// nix-community/colmena#120, serokell/deploy-rs#78
func TestUnreadSudoPasswordIsNoInput(t *testing.T) {
	sudoMachines(t, "nopasswd", func(t *testing.T, o Options, _ string) {
		o.AskPassword = func(string) (string, error) { return testPassword, nil }
		asRoot(t, dial(t, o))
	})
}

// nix-community/colmena#120, serokell/deploy-rs#78
func TestSudoRefusalsAreTold(t *testing.T) {
	none := func(string) (string, error) { return "", errors.New("no terminal after all") }
	for _, tc := range []struct {
		name, mode string
		ask        func(string) (string, error)
		why        string
		attempts   int
	}{
		{"nobody to ask", "password", nil, "no terminal", 0},
		{"wrong password", "password", func(string) (string, error) { return "wrong", nil }, "did not accept", 1},
		{"empty password", "password", func(string) (string, error) { return "", nil }, "did not accept", 1},
		{"a stranger", "stranger", func(string) (string, error) { return testPassword, nil }, "does not let this user", 1},
		{"the question fails", "password", none, "no terminal after all", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sudoMachines(t, tc.mode, func(t *testing.T, o Options, dir string) {
				o.AskPassword = tc.ask
				c := dial(t, o)
				err := c.Run(remotetest.Within(t, 10*time.Second), Command{Args: []string{"true"}, AsRoot: true})
				if err == nil || !strings.Contains(err.Error(), tc.why) || strings.Contains(err.Error(), "wrong\n") {
					t.Fatalf("got %v", err)
				}
				var e *SudoError
				if errors.As(err, &e) && e.Hint() == "" {
					t.Error("no hint")
				}
				attempts, _ := os.ReadFile(filepath.Join(dir, "attempts"))
				if n := strings.Count(string(attempts), "x"); n != tc.attempts {
					t.Errorf("%d attempts at the password, want %d", n, tc.attempts)
				}
			})
		})
	}
}

func TestNotRootWithoutSudo(t *testing.T) {
	sudoMachines(t, "quiet", func(t *testing.T, o Options, dir string) {
		o.Sudo = false
		var e *SudoError
		if err := dial(t, o).Root(remotetest.Within(t, 10*time.Second)); !errors.As(err, &e) || !strings.Contains(e.Hint(), "--host-sudo") {
			t.Errorf("got %v", err)
		}
		if err := os.Remove(filepath.Join(dir, "sudo")); err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath("/usr/bin/sudo"); err == nil {
			return // the real one is found next
		}
		o.Sudo = true
		if err := dial(t, o).Root(remotetest.Within(t, 10*time.Second)); !errors.As(err, &e) || !strings.Contains(e.Why, "no sudo") {
			t.Errorf("got %v", err)
		}
	})
}

// TestRealSudo runs itself as an ordinary user, under a mount namespace in which
// /etc has that user, a password and rules for sudo.
func TestRealSudo(t *testing.T) {
	if os.Getenv("FERRY_TEST_SUDO") != "" {
		realSudo(t)
		return
	}
	if _, err := exec.LookPath("sudo"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and sudo")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.TrimSpace(mustRun(t, "openssl", "passwd", "-6", testPassword))
	for mode, rule := range map[string]string{"password": "ALL", "quiet": "NOPASSWD: ALL", "stranger": ""} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{"passwd": "root:x:0:0::/:/bin/sh\nferryop:x:4242:4242::/:/bin/sh\n", "group": "root:x:0:\nferryop:x:4242:\n",
				"shadow": "root:*:19000::::::\nferryop:" + hash + ":19000::::::\n", "sudoers": "root ALL=(ALL) ALL\n"}
			if rule != "" {
				files["sudoers"] += "ferryop ALL=(ALL) " + rule + "\n"
			}
			script := "set -e; cd /\n"
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				script += "mount --bind " + dir + "/" + name + " /etc/" + name + "\n"
			}
			script += "chmod 0644 /etc/passwd /etc/group; chmod 0440 /etc/sudoers\nmount -t tmpfs -o mode=0755 none /var/tmp; cp \"$0\" /var/tmp/self; chmod 755 /var/tmp/self\n" +
				"FERRY_TEST_SUDO=" + mode + " exec setpriv --reuid 4242 --regid 4242 --clear-groups /var/tmp/self -test.v -test.run '^TestRealSudo$'\n"
			t.Log(mustRun(t, "unshare", "-m", "sh", "-c", script, self))
		})
	}
}

// realSudo is the part inside; it knows the mode by its environment.
func realSudo(t *testing.T) {
	mode := os.Getenv("FERRY_TEST_SUDO")
	o := Options{Address: microvm.Address{Local: true}, Sudo: true}
	var refused *SudoError
	if mode == "password" {
		if err := dial(t, o).Root(remotetest.Within(t, 20*time.Second)); !errors.As(err, &refused) || !strings.Contains(refused.Why, "no terminal") {
			t.Errorf("nobody to ask: %v", err)
		}
		o.AskPassword = func(string) (string, error) { return "wrong", nil }
		if err := dial(t, o).Root(remotetest.Within(t, 20*time.Second)); !errors.As(err, &refused) || !strings.Contains(refused.Why, "did not accept") {
			t.Errorf("wrong password: %v", err)
		}
	}
	o.AskPassword = func(string) (string, error) { return testPassword, nil }
	c := dial(t, o)
	err := c.Root(remotetest.Within(t, 20*time.Second))
	if mode == "stranger" {
		if !errors.As(err, &refused) || !strings.Contains(refused.Why, "does not let this user") {
			t.Errorf("a stranger: %v", err)
		}
		return
	}
	if err != nil || c.SudoPassword() != (mode == "password") {
		t.Fatalf("%v, password %v", err, c.SudoPassword())
	}
	var out bytes.Buffer
	cmd := Command{Args: []string{"sh", "-c", "id -u; cat"}, AsRoot: true, Stdin: strings.NewReader("input\n"), Stdout: &out}
	if err := c.Run(remotetest.Within(t, 20*time.Second), cmd); err != nil || out.String() != "0\ninput\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
