package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// source is a module that imports another one, which lies beside it: nothing is
// downloaded.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"ferry/go.mod":    "module ferry\n\ngo 1.26.0\n\nrequire other v1.0.0\n\nreplace other => ../other\n",
		"ferry/go.sum":    "",
		"ferry/main.go":   "package main\n\nimport _ \"other\"\n\nfunc main() {}\n",
		"ferry/nix/note":  "",
		"other/go.mod":    "module other\n\ngo 1.26.0\n",
		"other/other.go":  "package other\n",
		"other/more/m.go": "package more\n",
	} {
		write(t, filepath.Join(dir, name), content)
	}
	return filepath.Join(dir, "ferry")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantOutdated(t *testing.T, root string) {
	t.Helper()
	if err := run(root, true); err == nil || !strings.Contains(err.Error(), "run `make vendor-hash`") {
		t.Errorf("an outdated file: %v", err)
	}
}

func TestOutdatedHashIsFound(t *testing.T) {
	root := source(t)
	wantOutdated(t, root) // there is none
	update := func() {
		t.Helper()
		if err := run(root, false); err != nil {
			t.Fatal(err)
		}
		if err := run(root, true); err != nil {
			t.Errorf("right after it was written: %v", err)
		}
	}
	update()
	if _, err := os.Stat(filepath.Join(root, "vendor")); err == nil {
		t.Error("the modules' folder was left in the source")
	}

	// Another package of the same module: go.mod stays as it is.
	write(t, filepath.Join(root, "main_test.go"), "package main\n\nimport _ \"other/more\"\n")
	wantOutdated(t, root)
	update()

	// The folder stays the same.
	write(t, filepath.Join(root, "go.sum"), "\n")
	wantOutdated(t, root)
	update()
}

func TestFolderOfAnotherGoIsNotCompared(t *testing.T) {
	root := source(t)
	file := filepath.Join(root, "nix", "vendor-hash.nix")
	now, err := compute(root)
	if err != nil {
		t.Fatal(err)
	}
	other := recorded{goVersion: "1.25.9", hash: "sha256-x", sums: now.sums}
	write(t, file, other.String())
	if err := run(root, true); err != nil {
		t.Errorf("one of another Go: %v", err)
	}
	// Which modules they are doesn't depend on Go.
	other.sums = "y"
	write(t, file, other.String())
	wantOutdated(t, root)

	now.goVersion = minor(now.goVersion) + ".99"
	write(t, file, now.String())
	if err := run(root, true); err != nil {
		t.Errorf("another patch release, the same folder: %v", err)
	}
	now.hash = "sha256-x"
	write(t, file, now.String())
	wantOutdated(t, root)
}

// What `go mod vendor` goes by in Nix is what it goes by here: each folder with Go code
// of ferry's module, tests included.
func TestNixSeesAllImports(t *testing.T) {
	root := filepath.Join("..", "..")
	b, err := os.ReadFile(filepath.Join(root, "nix", "package.nix"))
	if err != nil {
		t.Fatal(err)
	}
	_, imports, _ := strings.Cut(string(b), "\n  imports = ")
	imports, _, found := strings.Cut(imports, "\n  stamp = ")
	if !found {
		t.Fatal("nix/package.nix has no `imports`")
	}
	packages, err := goIn(root, "list", "-f", "{{.Dir}}", "./...")
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for dir := range strings.SplitSeq(packages, "\n") {
		inside, err := filepath.Rel(top, dir)
		if err != nil {
			t.Fatal(err)
		}
		folder, _, _ := strings.Cut(filepath.ToSlash(inside), "/")
		if !strings.Contains(imports, `"`+folder+`"`) {
			t.Errorf("nix/package.nix leaves %s out of what go mod vendor goes by", inside)
		}
	}
}
