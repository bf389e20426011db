package shell

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for want, words := range map[string][]string{
		"nix build --no-link":       {"nix", "build", "--no-link"},
		"echo 'a b' '' '$x'":        {"echo", "a b", "", "$x"},
		`echo 'it'"'"'s'`:           {"echo", "it's"},
		"'A=b' A=b '=ls'":           {"A=b", "A=b", "=ls"},
		"nix build '/s/x.drv^out'":  {"nix", "build", "/s/x.drv^out"},
		"ls /nix/store/x.drv,a+b:c": {"ls", "/nix/store/x.drv,a+b:c"},
	} {
		if got := Quote(words...); got != want {
			t.Errorf("Quote(%q) = %s, want %s", words, got, want)
		}
	}
}

// FuzzQuote: what a shell makes of a quoted line is what went in.
func FuzzQuote(f *testing.F) {
	for _, w := range []string{"", "a b", "'", `a\'b`, "$HOME", "`id`", "a\nb", "-n", "=ls", "A=b", "{a,b}", `\0101`, "\xff\xfe", "!"} {
		f.Add(w, "second")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") || len(a)+len(b) > 10<<10 {
			t.Skip("no such argument")
		}
		line := Quote("printf", `%s\0`, a, b)
		got, err := exec.Command("sh", "-c", line).Output()
		if err != nil || !bytes.Equal(got, []byte(a+"\x00"+b+"\x00")) {
			t.Errorf("%q gave %q (%v)", line, got, err)
		}
	})
}
