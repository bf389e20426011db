// Package script runs ferry's command line in small scripts, with a nix and an
// ssh that know only the calls which a script announces. What real parts do is
// shown in test/e2e.
package script

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ferry/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ferry": func() { os.Exit(cli.Main(os.Args)) },
		"nix":   func() { os.Exit(play("nix", os.Args[1:])) },
		"ssh":   func() { os.Exit(play("ssh", os.Args[1:])) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds:                map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "calls": checkCalls},
		Setup: func(env *testscript.Env) error {
			env.Setenv("FAKE_DIR", env.WorkDir)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
			env.Setenv("NO_COLOR", "1")
			return nil
		},
	})
}

// exits CODE COMMAND… runs a command and wants that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	code := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code = exitCode(err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, wanted %s", code, args[0])
	}
}

// calls fails unless all announced calls happened, and no other.
func checkCalls(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: calls")
	}
	dir := ts.Getenv("WORK")
	said, err := os.ReadFile(filepath.Join(dir, unexpectedFile))
	if !errors.Is(err, fs.ErrNotExist) {
		ts.Fatalf("unexpected calls:\n%s%v", said, err)
	}
	announced, err := readCalls(dir)
	ts.Check(err)
	for i, c := range announced {
		if _, err := os.Stat(usedFile(dir, i)); err != nil {
			ts.Fatalf("this call did not happen: %s", c.words)
		}
	}
}
