// Package layers pins which of ferry's packages may import which. It knows only
// import paths.
package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "ferry/"
	root   = "../.."
)

// order lists the packages from the top down: each imports only packages below
// it. Packages inside another one (host/units) stand with that one.
var order = []string{
	"cmd/ferry",
	"cmd/ferry-helper",
	"internal/cli",
	"internal/helper",
	"internal/microvmcmd",
	"internal/completion",
	"internal/cmdline",
	"internal/doctor",
	"internal/manage",
	"internal/deploy",
	"internal/timers",
	"internal/update",
	"internal/flakeupdate",
	"internal/flake",
	"internal/hydra",
	"internal/fetch",
	"internal/guest",
	"internal/host",
	"internal/systemd",
	"internal/runner",
	"internal/hostclient",
	"internal/remote",
	"internal/helperbin",
	"internal/nix",
	"internal/remembered",
	"internal/hostapi",
	"internal/health",
	"internal/ui",
	"internal/trouble",
	"docs",
	"internal/microvm",
	"internal/shell",
}

// rooms are packages inside a layer, from the top down, that have an order among
// themselves as well.
var rooms = []string{
	"internal/cli",
	"internal/cli/updates",
	"internal/cli/console",
	"internal/cli/option",
	"internal/cli/terminal",
	"internal/doctor/visit",
	"internal/doctor",
	"internal/deploy",
	"internal/deploy/request",
	"internal/deploy/result",
	"internal/deploy/hostlink",
	"internal/deploy/restart",
	"internal/deploy/target",
	"internal/deploy/live",
	"internal/deploy/transfer",
	"internal/deploy/memory",
	"internal/host/examine",
	"internal/host/setup",
	"internal/host",
	"internal/host/unfinished",
	"internal/host/undo",
	"internal/host/install",
	"internal/host/prove",
	"internal/host/manage",
	"internal/host/protocol",
	"internal/host/inventory",
	"internal/host/settle",
	"internal/host/plan",
	"internal/host/vmstate",
	"internal/host/step",
	"internal/host/virtiofs",
	"internal/host/units",
}

// starts are the programs, and the one package of ours that each imports.
var starts = map[string]string{"cmd/ferry": "internal/cli", "cmd/ferry-helper": "internal/helper"}

// notOnHosts is what the host's program must not contain: SSH, deployments, the
// operator's commands.
var notOnHosts = []string{"internal/cli", "internal/manage", "internal/deploy", "internal/update", "internal/flakeupdate",
	"internal/hydra", "internal/fetch", "internal/guest", "internal/remote", "internal/helperbin", "internal/remembered", "docs"}

// lab is beside the order: it may import everything, and ferry nothing of it.
const lab = "internal/lab"

// pkg is a package and what it imports.
type pkg struct {
	path                 string
	imports, testImports []string
}

func TestLayers(t *testing.T) {
	pkgs, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 10 {
		t.Fatalf("only %d packages were found", len(pkgs))
	}
	for _, name := range slices.Sorted(maps.Keys(pkgs)) {
		for _, problem := range check(*pkgs[name]) {
			t.Error(problem)
		}
	}
}

func TestHelperHasNothingOfTheOperator(t *testing.T) {
	pkgs, err := list()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var reach func(path string, by []string)
	reach = func(path string, by []string) {
		if seen[path] || pkgs[path] == nil {
			return
		}
		seen[path] = true
		by = append(by, strings.TrimPrefix(path, module))
		if slices.Contains(notOnHosts, layer(strings.TrimPrefix(path, module))) {
			t.Errorf("the host's program contains %s", strings.Join(by, " → "))
			return
		}
		for _, to := range pkgs[path].imports {
			reach(to, slices.Clone(by))
		}
	}
	reach(module+"cmd/ferry-helper", nil)
	if len(seen) < 8 {
		t.Errorf("only %d packages were found", len(seen))
	}
}

// list reads the imports of all packages of the module, those of the lab's tests
// among them. It reads files itself, so that go test knows when to run again.
func list() (map[string]*pkg, error) {
	pkgs := map[string]*pkg{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || path != root && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() && path != root && isFile(filepath.Join(path, "go.mod")):
			return filepath.SkipDir // another module: tools
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name := module + filepath.ToSlash(dir)
		if pkgs[name] == nil {
			pkgs[name] = &pkg{path: name}
		}
		pkgs[name].add(f, strings.HasSuffix(path, "_test.go"))
		return nil
	})
	return pkgs, err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (p *pkg) add(f *ast.File, isTest bool) {
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue // the compiler says so
		}
		if isTest {
			p.testImports = append(p.testImports, path)
		} else {
			p.imports = append(p.imports, path)
		}
	}
}

// check returns a line for each import that p must not have.
func check(p pkg) []string {
	name, ours := strings.CutPrefix(p.path, module)
	if !ours {
		return nil
	}
	var problems []string
	add := func(why string) {
		if why != "" && !slices.Contains(problems, why) {
			problems = append(problems, why)
		}
	}
	add(misplaced(name))
	for _, path := range p.imports {
		if to, ours := strings.CutPrefix(path, module); ours {
			add(forbidden(name, to))
		}
	}
	for _, path := range p.testImports {
		if to, ours := strings.CutPrefix(path, module); ours {
			add(forbiddenInTests(name, to))
		}
	}
	return problems
}

// misplaced says why a package has no place among the layers.
func misplaced(name string) string {
	if rank(name) >= 0 || outside(name) {
		return ""
	}
	return fmt.Sprintf("%s is not in the order of the layers: put it there, and into docs/architecture.md", name)
}

// outside are the lab, the build, what writes the manual, their commands and the
// tests of the whole: above everything.
func outside(name string) bool {
	return slices.Contains([]string{lab, "internal/release", "cmd/lab", "cmd/build", "cmd/dist", "cmd/docs"}, layer(name)) || strings.HasPrefix(name, "test/")
}

// forbidden says why from must not import to.
func forbidden(from, to string) string {
	switch {
	case outside(from):
		return ""
	case strings.HasSuffix(to, "test"):
		return fmt.Sprintf("%s imports %s, which is for tests only", from, to)
	case starts[from] != "" && to != starts[from]:
		return fmt.Sprintf("%s imports %s: it only starts %s", from, to, starts[from])
	case layer(to) == lab, layer(to) == "internal/release":
		return fmt.Sprintf("%s imports %s, which is never shipped", from, to)
	case layer(from) == layer(to):
		return forbiddenInside(from, to)
	case rank(to) < 0:
		return fmt.Sprintf("%s imports %s, which has no place among the layers", from, to)
	case rank(from) >= rank(to):
		return fmt.Sprintf("%s imports %s, which is above it: a package imports only what stands below it in %s", from, to, "docs/architecture.md")
	}
	return ""
}

// forbiddenInside is forbidden for two packages of one layer.
func forbiddenInside(from, to string) string {
	f, t := slices.Index(rooms, from), slices.Index(rooms, to)
	if f >= 0 && t >= 0 && f > t {
		return fmt.Sprintf("%s imports %s, which is above it", from, to)
	}
	return ""
}

// forbiddenInTests is forbidden for tests, which may use the lab and fakes.
func forbiddenInTests(from, to string) string {
	if layer(to) == lab || strings.HasSuffix(to, "test") {
		return ""
	}
	return forbidden(from, to)
}

func rank(name string) int { return slices.Index(order, layer(name)) }

// layer is the package that name belongs to: the first two parts of its path.
func layer(name string) string {
	parts := strings.SplitN(name, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// The test can fail: what it must find, it finds.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct {
		name string
		p    pkg
		want string // part of the only problem; empty: none
	}{
		{"downwards", pkg{path: "ferry/internal/deploy", imports: []string{"fmt", "ferry/internal/host"}}, ""},
		{"upwards", pkg{path: "ferry/internal/host", imports: []string{"ferry/internal/deploy"}}, "internal/host imports internal/deploy, which is above it"},
		{"the bottom", pkg{path: "ferry/internal/microvm", imports: []string{"ferry/internal/nix"}}, "which is above it"},
		{"inside one layer", pkg{path: "ferry/internal/host", imports: []string{"ferry/internal/host/units"}}, ""},
		{"from room to room", pkg{path: "ferry/internal/host/manage", imports: []string{"ferry/internal/host/vmstate"}}, ""},
		{"from room to room upwards", pkg{path: "ferry/internal/host/vmstate", imports: []string{"ferry/internal/host/manage"}}, "which is above it"},
		{"from inside upwards", pkg{path: "ferry/internal/host/units", imports: []string{"ferry/internal/deploy"}}, "which is above it"},
		{"the main package", pkg{path: "ferry/cmd/ferry", imports: []string{"ferry/internal/deploy"}}, "only starts internal/cli"},
		{"the other main package", pkg{path: "ferry/cmd/ferry-helper", imports: []string{"ferry/internal/cli"}}, "only starts internal/helper"},
		{"the build in ferry", pkg{path: "ferry/internal/cli", imports: []string{"ferry/internal/release"}}, "never shipped"},
		{"the lab in ferry", pkg{path: "ferry/internal/cli", imports: []string{"ferry/internal/lab"}}, "never shipped"},
		{"the lab in a test", pkg{path: "ferry/internal/flake", testImports: []string{"ferry/internal/lab"}}, ""},
		{"ferry in the lab", pkg{path: "ferry/internal/lab", imports: []string{"ferry/internal/host/units"}}, ""},
		{"a fake in ferry", pkg{path: "ferry/internal/flake", imports: []string{"ferry/internal/nix/nixtest"}}, "tests only"},
		{"a fake in a test", pkg{path: "ferry/internal/flake", testImports: []string{"ferry/internal/nix/nixtest"}}, ""},
		{"a fake in a program for tests", pkg{path: "ferry/test/e2e/standin", imports: []string{"ferry/internal/hydra/hydratest"}}, ""},
		{"upwards in a test", pkg{path: "ferry/internal/nix", testImports: []string{"ferry/internal/deploy"}}, "which is above it"},
		{"a new package", pkg{path: "ferry/internal/helpers"}, "internal/helpers is not in the order"},
		{"import of a new package", pkg{path: "ferry/internal/cli", imports: []string{"ferry/internal/helpers"}}, "no place among the layers"},
	} {
		got := strings.Join(check(c.p), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
