package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// plainPackages have messages in everyday English; those of internal/host and of
// most of internal/deploy are not checked here.
var plainPackages = []string{
	"cli", "cli/console", "cli/option", "cli/terminal", "cli/updates", "deploy/request", "deploy/result", "doctor", "doctor/visit", "host/examine", "microvmcmd", "fetch", "flake", "flakeupdate", "host/setup", "hydra", "manage", "microvm", "nix", "remote", "timers", "update",
}

// stilted are turns that readers stumble over, with what to write instead.
var stilted = map[string]*regexp.Regexp{
	"is not a X":             regexp.MustCompile(`\b(is|are|was) no [a-z%]`),
	"is not valid":           regexp.MustCompile(`\b(is|are|it has) none\b`),
	"again, once more":       regexp.MustCompile(`\banew\b`),
	"put them in":            regexp.MustCompile(`\bbelongs? into\b`),
	"X is missing":           regexp.MustCompile(`\bnot said\b`),
	"resume, follow":         regexp.MustCompile(`\bgo(es|ne)? on with\b`),
	"accept":                 regexp.MustCompile(`\bfor good though\b`),
	"permanently, forever":   regexp.MustCompile(`\bfor ever\b`),
	"stays stopped, stays X": regexp.MustCompile(`\bstays so\b`),
}

// existential is fine: "there is no VM web".
var existential = regexp.MustCompile(`\bthere (is|are|was) no `)

func TestMessagesAreInPlainEnglish(t *testing.T) {
	n := 0
	for _, p := range plainPackages {
		for _, file := range sources(t, filepath.Join(root, "internal", p)) {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(node ast.Node) bool {
				lit, ok := node.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				n++
				for instead, pattern := range stilted {
					if found := pattern.FindString(existential.ReplaceAllString(text, "")); found != "" {
						t.Errorf("%s: %q in %.100q: write %q", file, found, text, instead)
					}
				}
				return true
			})
		}
	}
	if n < 1000 {
		t.Errorf("only %d texts were found", n)
	}
}

// sources are the Go files of a package, or the one file, without tests.
func sources(t *testing.T, path string) []string {
	t.Helper()
	if strings.HasSuffix(path, ".go") {
		return []string{path}
	}
	files, err := filepath.Glob(filepath.Join(path, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			found = append(found, f)
		}
	}
	return found
}
