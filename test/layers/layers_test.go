// Package layers pins which of ferry's packages may import which. It knows only
// import paths.
package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "ferry/"

// order lists the packages from the top down: each imports only packages below
// it. Packages inside another one (host/units) stand with that one.
var order = []string{
	"cmd/ferry",
	"internal/cli",
	"internal/fleet",
	"internal/manage",
	"internal/deploy",
	"internal/flake",
	"internal/hydra",
	"internal/guest",
	"internal/host",
	"internal/remote",
	"internal/nix",
	"internal/ui",
	"internal/microvm",
}

// lab is beside the order: it may import everything, and ferry nothing of it.
const lab = "internal/lab"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestLayers(t *testing.T) {
	pkgs, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list found only %d packages", len(pkgs))
	}
	for _, p := range pkgs {
		for _, problem := range check(p) {
			t.Error(problem)
		}
	}
}

// list asks the go command for all packages of the module, with the files that
// only the lab's tests have.
func list() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-tags", "lab", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// check returns a line for each import that p must not have.
func check(p pkg) []string {
	name, ours := strings.CutPrefix(p.ImportPath, module)
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
	for _, path := range p.Imports {
		if to, ours := strings.CutPrefix(path, module); ours {
			add(forbidden(name, to))
		}
	}
	for _, path := range append(p.TestImports, p.XTestImports...) {
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

// outside are the lab, its command and the tests of the whole: above everything.
func outside(name string) bool {
	return layer(name) == lab || name == "cmd/lab" || strings.HasPrefix(name, "test/")
}

// forbidden says why from must not import to.
func forbidden(from, to string) string {
	switch {
	case strings.HasSuffix(to, "test"):
		return fmt.Sprintf("%s imports %s, which is for tests only", from, to)
	case outside(from):
		return ""
	case from == "cmd/ferry" && to != "internal/cli":
		return fmt.Sprintf("%s imports %s: it only starts internal/cli", from, to)
	case layer(to) == lab:
		return fmt.Sprintf("%s imports %s, which is never shipped", from, to)
	case layer(from) == layer(to):
		return ""
	case rank(to) < 0:
		return fmt.Sprintf("%s imports %s, which has no place among the layers", from, to)
	case rank(from) >= rank(to):
		return fmt.Sprintf("%s imports %s, which is above it: a package imports only what stands below it in %s", from, to, "docs/architecture.md")
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
		{"downwards", pkg{ImportPath: "ferry/internal/deploy", Imports: []string{"fmt", "ferry/internal/host"}}, ""},
		{"upwards", pkg{ImportPath: "ferry/internal/host", Imports: []string{"ferry/internal/deploy"}}, "internal/host imports internal/deploy, which is above it"},
		{"the bottom", pkg{ImportPath: "ferry/internal/microvm", Imports: []string{"ferry/internal/nix"}}, "which is above it"},
		{"inside one layer", pkg{ImportPath: "ferry/internal/host", Imports: []string{"ferry/internal/host/units"}}, ""},
		{"from inside upwards", pkg{ImportPath: "ferry/internal/host/units", Imports: []string{"ferry/internal/deploy"}}, "which is above it"},
		{"the main package", pkg{ImportPath: "ferry/cmd/ferry", Imports: []string{"ferry/internal/deploy"}}, "only starts internal/cli"},
		{"the lab in ferry", pkg{ImportPath: "ferry/internal/cli", Imports: []string{"ferry/internal/lab"}}, "never shipped"},
		{"the lab in a test", pkg{ImportPath: "ferry/internal/flake", TestImports: []string{"ferry/internal/lab"}}, ""},
		{"ferry in the lab", pkg{ImportPath: "ferry/internal/lab", Imports: []string{"ferry/internal/host/units"}}, ""},
		{"a fake in ferry", pkg{ImportPath: "ferry/internal/flake", Imports: []string{"ferry/internal/nix/nixtest"}}, "tests only"},
		{"a fake in a test", pkg{ImportPath: "ferry/internal/flake", XTestImports: []string{"ferry/internal/nix/nixtest"}}, ""},
		{"upwards in a test", pkg{ImportPath: "ferry/internal/nix", TestImports: []string{"ferry/internal/deploy"}}, "which is above it"},
		{"a new package", pkg{ImportPath: "ferry/internal/helpers"}, "internal/helpers is not in the order"},
		{"import of a new package", pkg{ImportPath: "ferry/internal/cli", Imports: []string{"ferry/internal/helpers"}}, "no place among the layers"},
	} {
		got := strings.Join(check(c.p), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
