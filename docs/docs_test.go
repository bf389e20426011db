package docs

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSectionsArePlainText(t *testing.T) {
	in := "See [confirm](confirm.md#x), [this](#y) and [that](https://example.org).\n\n```console\n$ ls\n```\n"
	if got, want := plain(in), "See confirm (docs/confirm.md), this and that.\n\n    $ ls\n"; got != want {
		t.Errorf("%q", got)
	}
}

func TestSectionsFitATerminal(t *testing.T) {
	long := "1. " + strings.Repeat("words ", 20)
	if got := plain(long); got != "1. words"+strings.Repeat(" words", 12)+"\n   words"+strings.Repeat(" words", 6)+"\n" {
		t.Errorf("%q", got)
	}
	for _, s := range TroubleshootingSections() {
		for line := range strings.Lines(s.Text) {
			shown := strings.HasPrefix(line, "    ") // as it is printed
			if !shown && utf8.RuneCountInString(strings.TrimRight(line, "\n")) > columns && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%s: %q", s.Name, line)
			}
		}
	}
}

func TestSectionsAreFoundByTheirAnchors(t *testing.T) {
	all := TroubleshootingSections()
	if len(all) < 20 {
		t.Errorf("only %d sections", len(all))
	}
	seen := map[string]bool{}
	for _, s := range all {
		if found, ok := Troubleshooting(s.Name); !ok || found != s || seen[s.Name] || s.Text == "" {
			t.Errorf("%q: %+v", s.Name, found)
		}
		seen[s.Name] = true
	}
	if _, ok := Troubleshooting(""); ok {
		t.Error("there is a section without a name")
	}
}
