package ui

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

func TestCleanMakesEscapesVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain Ünïcode → ok\tand\nlines": "plain Ünïcode → ok\tand\nlines",
		"\x1b]0;owned\x07":               `\x1b]0;owned\x07`,
		"a\rb":                           `a\x0db`,
		"\u202eevil":                     `\x202eevil`,
		"\xff\xfe":                       "\ufffd\ufffd",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, wanted %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31mred\x9b0m\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if len(got) > 8*maxLine {
			t.Errorf("%d bytes came out", len(got))
		}
		for _, r := range got {
			if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
				t.Errorf("%U came through", r)
			}
		}
	})
}

// The last line of a log appears though it has no newline at
// its end, once its writer is flushed.
// nix-community/colmena#176
func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	u := &UI{Err: &out}
	w := u.Log("web")
	fmt.Fprint(w, "one\ntw")
	fmt.Fprint(w, "o\r\nend")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "web> one\nweb> two\nweb> end\n" {
		t.Errorf("got %q", got)
	}
	out.Reset()
	w = u.Log("web")
	fmt.Fprint(w, strings.Repeat("x", 10*maxLine))
	if n := strings.Count(out.String(), "\n"); n < 9 {
		t.Errorf("an endless line made %d lines", n)
	}
}

func TestColourOnlyWhereAsked(t *testing.T) {
	var out bytes.Buffer
	u := New(nil, &out, false)
	u.Step("web", "evaluated %s", "x")
	u.Error("it failed", "do this", []string{"last line"})
	if got := out.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, "hint: do this") || !strings.Contains(got, "  | last line") {
		t.Errorf("got %q", got)
	}
}
