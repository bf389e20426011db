package docs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Tests that the documents name are there.
func TestNamedTests(t *testing.T) {
	there := map[string]bool{}
	for name := range declaredTests(t) {
		there[name[strings.LastIndexByte(name, ' ')+1:]] = true
	}
	for _, name := range documents(t) {
		for _, gone := range missingTests(read(t, name), there) {
			t.Errorf("%s names %s, which is nowhere", name, gone)
		}
	}
}

// docs/security.md names a test for each attack.
func TestAttacksHaveTests(t *testing.T) {
	attacks, unshown := attacksOf(read(t, "docs/security.md"))
	if attacks < 20 {
		t.Errorf("only %d attacks were found", attacks)
	}
	for _, attack := range unshown {
		t.Errorf("docs/security.md names no test for: %s", attack)
	}
}

func TestMissingTestsAreFound(t *testing.T) {
	got := missingTests("`TestThere`, `internal/host` `TestGone`, `FuzzGone`, Testing", map[string]bool{"TestThere": true})
	if fmt.Sprint(got) != "[TestGone FuzzGone]" {
		t.Errorf("%q", got)
	}
	attacks, unshown := attacksOf("| attack | what ferry does | shown by |\n|---|---|---|\n" +
		"| one | `TestThere` is | `TestThere` |\n| two | `TestThere` is | nothing |\n\n| other | table | `x` |\n")
	if attacks != 2 || fmt.Sprint(unshown) != "[two]" {
		t.Errorf("%d attacks, without a test: %q", attacks, unshown)
	}
}

var namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")

func missingTests(text string, there map[string]bool) []string {
	var gone []string
	for _, m := range namedTest.FindAllStringSubmatch(prose(text), -1) {
		if !there[m[1]] {
			gone = append(gone, m[1])
		}
	}
	return gone
}

// attacksOf counts the rows of the table of attacks, and returns the first cells of
// those that name no test in their last one.
func attacksOf(text string) (attacks int, unshown []string) {
	_, table, _ := strings.Cut(text, "| attack |")
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if line == "" {
			break
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 3 || strings.HasPrefix(line, "|---") {
			continue
		}
		attacks++
		if !namedTest.MatchString(cells[2]) {
			unshown = append(unshown, cells[0])
		}
	}
	return attacks, unshown
}
