// Package outside pins rules about data from outside that no compiler checks:
// every parser of it is fuzzed, and ssh's checking of host keys is nowhere
// weakened. It knows only source files.
package outside

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../internal"

// parserName is what a function is called that reads data from outside.
var parserName = regexp.MustCompile(`^([Pp]arse|[Dd]ecode)([A-Z]|$)`)

// notFuzzed are parsers of something else.
var notFuzzed = map[string]string{
	"cli.parsePositionals": "the user's own words, each of which a fuzzed parser reads",
	"hydra.ParseJob":       "the user's own words",
	"hydra.ParseWhich":     "the user's own words",
}

// function is a function of a package, and what it calls by name.
type function struct {
	name  string
	calls map[string]bool
}

type source struct {
	parsers []string
	all     map[string]function // of the package, tests among them
}

// Issue 4: fuzz targets for every parser of outside data. A parser counts as
// fuzzed if a fuzz target of its package calls it, itself or by other functions
// of the package.
func TestEveryParserIsFuzzed(t *testing.T) {
	packages, found := read(t), 0
	for name, src := range packages {
		fuzzed := map[string]bool{}
		for _, f := range src.all {
			if strings.HasPrefix(f.name, "Fuzz") {
				src.reach(f.name, fuzzed)
			}
		}
		for _, p := range src.parsers {
			found++
			full := name + "." + p
			switch {
			case fuzzed[p] && notFuzzed[full] != "":
				t.Errorf("%s is fuzzed: take it out of notFuzzed", full)
			case !fuzzed[p] && notFuzzed[full] == "":
				t.Errorf("%s reads data from outside, and no fuzz target of its package calls it", full)
			}
		}
	}
	if found < 12 {
		t.Errorf("only %d parsers were found: is this test still right?", found)
	}
}

func (s source) reach(name string, seen map[string]bool) {
	f, here := s.all[name]
	if !here || seen[name] {
		return
	}
	seen[name] = true
	for callee := range f.calls {
		s.reach(callee, seen)
	}
}

// read finds the functions of all packages but the lab, by the package's name.
func read(t *testing.T) map[string]source {
	t.Helper()
	packages := map[string]source{}
	each(t, func(path string, f *ast.File) {
		name := strings.TrimSuffix(f.Name.Name, "_test")
		src, ok := packages[name]
		if !ok {
			src.all = map[string]function{}
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			src.all[fn.Name.Name] = function{fn.Name.Name, calls(fn)}
			if fn.Recv == nil && parserName.MatchString(fn.Name.Name) && !strings.HasSuffix(path, "_test.go") {
				src.parsers = append(src.parsers, fn.Name.Name)
			}
		}
		packages[name] = src
	})
	return packages
}

func each(t *testing.T, do func(path string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"lab", "testdata"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			do(path, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func calls(fn *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			names[f.Name] = true
		case *ast.SelectorExpr:
			names[f.Sel.Name] = true
		}
		return true
	})
	return names
}

// weakening are options of ssh that would have it trust a machine without knowing
// it, or with other keys than the user's.
var weakening = regexp.MustCompile(`(?i)stricthostkeychecking|userknownhostsfile|globalknownhostsfile|hostkeyalgorithms|checkhostip|nohostauthenticationforlocalhost|verifyhostkeydns|updatehostkeys|knownhostscommand|insecureignorehostkey|/dev/null.*known`)

// vsock is the one place where a guest's key is pinned at the first login instead
// of before it: the way to the guest is the host's own kernel, no network.
const vsock = "microvmcmd/run.go"

func pinsOverVsock(path, text string) bool {
	return strings.HasSuffix(filepath.ToSlash(path), vsock) &&
		slices.Contains([]string{`"CheckHostIP=no"`, `"StrictHostKeyChecking=accept-new"`, `"UserKnownHostsFile="`}, text)
}

// speaksOf are literals that tell of host-key checking and are not given to ssh.
var speaksOf = map[string]string{
	`"remove StrictHostKeyChecking from your ssh_config"`: "doctor/login.go",
	`"stricthostkeychecking"`:                             "remote/login.go",
}

func onlySpeaks(path, text string) bool {
	file, ok := speaksOf[text]
	return ok && strings.HasSuffix(filepath.ToSlash(path), file)
}

// Nothing that ferry gives to ssh weakens the checking of host keys. (The
// tests' own sshd, in files and packages of tests, has to be told where its keys
// are.)
// nix-community/nixos-cli#121
func TestHostKeyCheckingIsNotWeakened(t *testing.T) {
	files := 0
	each(t, func(path string, f *ast.File) {
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(filepath.Dir(path), "test") {
			return
		}
		files++
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && weakening.MatchString(lit.Value) && !pinsOverVsock(path, lit.Value) && !onlySpeaks(path, lit.Value) {
				t.Errorf("%s has %s", path, lit.Value)
			}
			return true
		})
	})
	if files < 50 {
		t.Errorf("only %d files were read", files)
	}
	if !weakening.MatchString(`"-o", "StrictHostKeyChecking=no"`) {
		t.Error("this test finds nothing")
	}
}
