package remote

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"ferry/internal/shell"
)

// awkward are words that shells take for something else.
var awkward = []string{"", " ", "a b", "'", `"`, `\`, `\\`, `a\'b`, "$HOME", "`id`", "$(id)", "*", "~", "!", "!!", "a\nb", "\n", "tab\there",
	"-n", "--", "=ls", "A=b", "{a,b}", "#c", ";", "&", "|", "<", ">", "%s", "%", `\0101`, "ü€", "\xff\xfe", "\x01\x7f", "^x", "?", "[a]", "@", "\r"}

// TestLoginShells: words survive the login shells that people have, also those
// that quote in other ways than POSIX says.
func TestLoginShells(t *testing.T) {
	line, err := loginLine(append([]string{"printf", `%s\0`}, awkward...))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, shell := range []string{"sh", "dash", "bash", "zsh", "fish", "tcsh", "busybox"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not installed", shell)
			continue
		}
		seen++
		args := []string{path, "-c", line}
		if shell == "busybox" {
			args = []string{path, "sh", "-c", line}
		}
		got := mustRun(t, args...)
		if want := strings.Join(awkward, "\x00") + "\x00"; got != want {
			t.Errorf("%s: got %q\nwant %q", shell, got, want)
		}
	}
	if seen < 2 {
		t.Error("not even sh and bash are there")
	}
}

// FuzzLoginLine: what a shell makes of the line is what went in.
func FuzzLoginLine(f *testing.F) {
	for _, w := range awkward {
		f.Add(w, "second")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") || len(a)+len(b) > 10<<10 {
			t.Skip("no such argument")
		}
		words := []string{"printf", `%s\0`, a, b}
		want := a + "\x00" + b + "\x00"
		line, err := loginLine(words)
		if err != nil {
			t.Fatal(err)
		}
		got, err := exec.Command("sh", "-c", line).Output()
		if err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q gave %q, want %q (%v)", line, got, want, err)
		}
	})
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell.Quote(args...), err, out)
	}
	return string(out)
}
