// Package docs holds the documents to the code: what they show must parse,
// resolve and be complete. It runs no deployment.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from this directory.
const root = "../.."

// documents are the files that users and newcomers read, relative to root.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(docs) == 0 {
		t.Fatalf("no documents in docs: %v", err)
	}
	names := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
	for _, d := range docs {
		names = append(names, filepath.Join("docs", filepath.Base(d)))
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// block is a fenced block of a document.
type block struct {
	language string
	line     int // of its first line, from 1
	lines    []string
}

func blocks(text string) []block {
	var found []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{language: fence, line: i + 2}
		case isFence:
			found = append(found, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	return found
}

// prose is a document without its fenced blocks.
func prose(text string) string {
	var out []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

var codePattern = regexp.MustCompile("`([^`]+)`")

// firstCells returns the first cell of each row of the table whose heading row
// begins with the given cell. Code marks are removed.
func firstCells(t *testing.T, text, heading string) []string {
	t.Helper()
	var cells []string
	inside := false
	for line := range strings.Lines(prose(text)) {
		line = strings.TrimSpace(line)
		first, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		switch {
		case strings.HasPrefix(line, "| "+heading+" |"):
			inside = true
		case !isRow || !strings.HasPrefix(line, "|"):
			inside = inside && strings.HasPrefix(line, "|---")
		case inside:
			cells = append(cells, strings.Trim(first, "`"))
		}
	}
	if len(cells) == 0 {
		t.Fatalf("there is no table that begins with %q", heading)
	}
	return cells
}

// sameSet fails the test for every word that only one side has.
func sameSet(t *testing.T, what string, documented, inCode []string) {
	t.Helper()
	for _, d := range documented {
		if !slices.Contains(inCode, d) {
			t.Errorf("%s: %q is documented, but the code does not have it", what, d)
		}
	}
	for _, c := range inCode {
		if !slices.Contains(documented, c) {
			t.Errorf("%s: %q is not documented", what, c)
		}
	}
	if len(inCode) == 0 {
		t.Errorf("%s: none found in the code", what)
	}
}
