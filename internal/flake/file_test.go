package flake

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ferry/internal/nix/nixtest"
)

func nixFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vms.nix")
	if err := os.WriteFile(file, []byte("{ }"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func fileCall(file, out string, options ...string) nixtest.Call {
	args := append(append(nixArgs("eval", "--json", "--show-trace"), options...), "--apply", nixtest.Any, "--file", file)
	return nixtest.Call{Args: args, Stdout: out}
}

// A configuration without a flake takes one evaluation, each time: nothing says what
// it rests on. microvm-nix/microvm.nix#452
func TestFileIsEvaluatedEachTime(t *testing.T) {
	file, dir := nixFile(t), t.TempDir()
	for range 2 {
		n := nixtest.New(t, versionCall("2.26.3"), fileCall(file, webOutput, "--option", "cores", "2"))
		src := Source{File: file, Options: []string{"--argstr", "x", "y", "--option", "cores", "2"}}
		got, err := (&Evaluator{Nix: n, CacheDir: dir}).Evaluate(t.Context(), src, "web")
		if err != nil || got.Cached || got.Record.Runner.Drv != runnerDrv || got.Revision != "" || got.URL != file {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if n := cacheFiles(t, dir); n != 0 {
		t.Errorf("%d files in the cache", n)
	}
}

func TestFileErrorsNameTheFile(t *testing.T) {
	file := nixFile(t)
	eval := func(c nixtest.Call) error {
		_, err := (&Evaluator{Nix: nixtest.New(t, versionCall("2.26.3"), c)}).Evaluate(t.Context(), Source{File: file}, "web")
		return err
	}
	var unknown *UnknownVMError
	err := eval(fileCall(file, `{"vms":{"web":{"missing":["wbe"]}}}`))
	if !errors.As(err, &unknown) || !strings.HasPrefix(err.Error(), file+" has no nixosConfigurations.web") || !strings.Contains(unknown.Hint(), "--file") {
		t.Error(err)
	}
	failing := fileCall(file, "")
	failing.Stderr, failing.Exit = "error: undefined variable 'foo'\n       at "+file+":3:4:\n", 1
	var failed *EvalError
	if err := eval(failing); !errors.As(err, &failed) || failed.Position != "vms.nix:3:4" || strings.Contains(err.Error(), "flake") {
		t.Error(err)
	}
}

func TestBadFilesAreNotEvaluated(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "default.nix") // Nix would wait for a writer
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file    string
		options []string
	}{
		{file: fifo}, {file: filepath.Dir(fifo)}, {file: "-"}, {file: "--expr"}, {file: filepath.Join(t.TempDir(), "none.nix")}, {file: t.TempDir()}, {file: "a\nb"},
		{file: nixFile(t), options: []string{"--arg", "x"}},
		{file: nixFile(t), options: []string{"--arg", "x; y", "1"}},
	} {
		var calls []nixtest.Call
		if c.options == nil {
			calls = append(calls, versionCall("2.26.3"))
		}
		if _, err := (&Evaluator{Nix: nixtest.New(t, calls...)}).Evaluate(t.Context(), Source{File: c.file, Options: c.options}, "web"); err == nil {
			t.Errorf("%+v was evaluated", c)
		}
	}
}

func TestArgumentsOfAFile(t *testing.T) {
	others, args, err := splitArguments([]string{
		"--argstr", "b", `a"${x}\`, "--impure", "--arg", "a", "{ } # nothing", "--arg", "b", "1", "--argstr", "b", `a"${x}\`,
	})
	want := "\"a\" = (\n{ } # nothing\n); \"b\" = (\n\"a\\\"\\${x}\\\\\"\n); "
	if err != nil || args != want || strings.Join(others, " ") != "--impure" {
		t.Errorf("%q, %q, %v", others, args, err)
	}
}
