// Package nixtest plays Nix's programs for tests of packages that call them. A
// call that the test did not announce fails, and so does a test whose announced
// calls did not all happen. The test's own program plays them: its TestMain must
// call Main. It knows nothing of what the calls mean.
package nixtest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ferry/internal/nix"
)

// Any in Call.Args stands for any one argument.
const Any = "\x00any"

// Call is one expected run of a program and what it does.
type Call struct {
	Args   []string // the program's name first: nix, nix-store, nix-env
	Stdin  string   // what it must read
	Stdout string
	Stderr string
	Exit   int
}

const (
	scriptVar  = "FERRY_FAKE_NIX"
	unexpected = 97 // exit code
)

// Main runs the tests, or plays a program when New's Nix started this process.
func Main(m *testing.M) {
	if dir := os.Getenv(scriptVar); dir != "" {
		os.Exit(play(dir))
	}
	os.Exit(m.Run())
}

// New returns a Nix that answers exactly the calls, each once, in any order.
func New(t testing.TB, calls ...Call) *nix.Nix {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	for _, program := range []string{"nix", "nix-store", "nix-env"} {
		must(t, os.Symlink(self, filepath.Join(dir, program)))
	}
	script, err := json.Marshal(calls)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "script.json"), script, 0o600))
	t.Cleanup(func() {
		for i, c := range calls {
			if _, err := os.Stat(claim(dir, i)); err != nil {
				t.Errorf("this call did not happen: %q", c.Args)
			}
		}
		if said, err := os.ReadFile(filepath.Join(dir, "unexpected")); err == nil {
			t.Errorf("unexpected calls:\n%s", said)
		}
	})
	return &nix.Nix{Program: filepath.Join(dir, "nix"), Env: []string{scriptVar + "=" + dir}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func claim(dir string, call int) string { return filepath.Join(dir, fmt.Sprintf("used-%d", call)) }

// play is the fake program: it takes the first unused call that fits.
func play(dir string) int {
	data, err := os.ReadFile(filepath.Join(dir, "script.json"))
	var calls []Call
	if err != nil || json.Unmarshal(data, &calls) != nil {
		fmt.Fprintln(os.Stderr, "fake nix: its script cannot be read")
		return unexpected
	}
	args := append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
	for i, c := range calls {
		fits := slices.EqualFunc(c.Args, args, func(want, got string) bool { return want == Any || want == got })
		if fits && os.Mkdir(claim(dir, i), 0o700) == nil { // atomic: calls may run at the same time
			return answer(dir, c)
		}
	}
	return complain(dir, fmt.Sprintf("%q", args))
}

func answer(dir string, c Call) int {
	if c.Stdin != "" {
		if got, err := io.ReadAll(os.Stdin); err != nil || string(got) != c.Stdin {
			return complain(dir, fmt.Sprintf("%q with stdin %q, %v", c.Args, got, err))
		}
	}
	fmt.Fprint(os.Stderr, c.Stderr)
	fmt.Fprint(os.Stdout, c.Stdout)
	return c.Exit
}

func complain(dir, what string) int {
	if f, err := os.OpenFile(filepath.Join(dir, "unexpected"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
		defer f.Close()
		fmt.Fprintln(f, what)
	}
	fmt.Fprintln(os.Stderr, "fake nix: unexpected call:", what)
	return unexpected
}
