package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/lessons.md names for each failure a test that is there, in the place that
// it names, or says *not yet*.
func TestLessonsNameTests(t *testing.T) {
	rows := lessons(read(t, "docs/lessons.md"))
	if len(rows) < 50 {
		t.Errorf("only %d failures were found", len(rows))
	}
	there := declaredTests(t)
	for _, row := range rows {
		for _, problem := range problemsOfLesson(row, there) {
			t.Error(problem)
		}
	}
}

// What is wrong in a lesson is found.
func TestWrongLessonsAreFound(t *testing.T) {
	there := map[string]bool{"test/e2e TestThere": true, "internal/host TestHere": true}
	for row, want := range map[string]string{
		"It broke | [x#1](https://github.com/o/x/issues/1) | `TestThere`, `internal/host` `TestHere`": "",
		"It broke | tried | *not yet*":                          "",
		"It broke | tried | `TestGone`":                         "test/e2e has no TestGone",
		"It broke | tried | `TestThere`, `TestHere`":            "test/e2e has no TestHere",
		"It broke | tried | `internal/host` `TestThere`":        "internal/host has no TestThere",
		"It broke | tried | it works":                           "neither a test nor *not yet*",
		"It broke | somewhere | `TestThere`":                    "no thread",
		"It broke | tried":                                      "2 cells",
		"It broke | [x#1](https://example.org/1) | `TestThere`": "no thread",
	} {
		got := strings.Join(problemsOfLesson(strings.Split(row, " | "), there), "\n")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", row, got, want)
		}
	}
}

// lessons are the cells of the rows of all tables.
func lessons(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		inner, isRow := strings.CutPrefix(line, "| ")
		if !isRow || strings.HasPrefix(inner, "failure | ") {
			continue
		}
		rows = append(rows, strings.Split(strings.TrimSuffix(inner, " |"), " | "))
	}
	return rows
}

var (
	threadPattern = regexp.MustCompile(`^(tried|\[[\w.-]+#\d+\]\(https://github\.com/[\w.-]+/[\w.-]+/issues/\d+\)(, \[[\w.-]+#\d+\]\(https://github\.com/[\w.-]+/[\w.-]+/issues/\d+\))*)$`)
	// A test's name, behind the directory that it is in where that is not test/e2e.
	testPattern = regexp.MustCompile("(?:`((?:internal|test)/[a-z/]+)` )?`((?:Test|Fuzz)\\w+)`")
)

func problemsOfLesson(row []string, there map[string]bool) []string {
	var problems []string
	if len(row) != 3 {
		return append(problems, fmt.Sprintf("%s: %d cells instead of 3", strings.Join(row, " | "), len(row)))
	}
	if !threadPattern.MatchString(row[1]) {
		problems = append(problems, row[0]+": no thread is named")
	}
	named := testPattern.FindAllStringSubmatch(row[2], -1)
	if len(named) == 0 && !strings.Contains(row[2], "*not yet*") {
		problems = append(problems, row[0]+": neither a test nor *not yet*")
	}
	for _, m := range named {
		dir := m[1]
		if dir == "" {
			dir = "test/e2e"
		}
		if !there[dir+" "+m[2]] {
			problems = append(problems, row[0]+": "+dir+" has no "+m[2])
		}
	}
	return problems
}

// declaredTests are the test functions of the module, each behind its directory,
// those in files with build tags among them.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				there[path.Dir(filepath.ToSlash(rel))+" "+fn.Name.Name] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}
