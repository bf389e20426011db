//go:build lab

package remote

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

// A fake ssh says what it was given, a word a line, and ends as it is told.
func fakeSSH(t *testing.T, code string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\"\ncat\nexit " + code + "\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestForeground(t *testing.T) {
	fakeSSH(t, "7")
	t.Setenv("NIX_SSHOPTS", "-F /root/config")
	for _, c := range []struct {
		target, through string
		command         []string
		want            string
	}{
		{"root@web", "", nil, "-F /root/config -- root@web"},
		{"ssh://root@web:2222", "", []string{"ls", "-l"}, "-p 2222 -F /root/config -- root@web ls -l"},
		{"web", "root@server", nil, "-J root@server -F /root/config -- web"},
		{"web", "ssh://root@server:23", nil, "-J ssh://root@server:23 -F /root/config -- web"},
		{"web", "ssh://ops@[2001:db8::1]", nil, "-J ssh://ops@[2001:db8::1] -F /root/config -- web"},
		{"web", "local", nil, "-F /root/config -- web"},
	} {
		var out bytes.Buffer
		f := Foreground{Command: c.command, Stdin: strings.NewReader("typed"), Stdout: &out}
		var err error
		if f.Address, err = microvm.ParseAddress(c.target); err != nil {
			t.Fatal(err)
		}
		if c.through != "" {
			through, err := microvm.ParseAddress(c.through)
			if err != nil {
				t.Fatal(err)
			}
			f.Through = &through
		}
		code, err := f.Run(t.Context())
		got := strings.Join(strings.Fields(out.String()), " ")
		if err != nil || code != 7 || got != c.want+" typed" {
			t.Errorf("%s through %s: exit code %d, %v, arguments %q", c.target, c.through, code, err, got)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := (Foreground{Address: microvm.Address{Host: "web"}}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "running ssh") {
		t.Errorf("without ssh: %v", err)
	}
}
