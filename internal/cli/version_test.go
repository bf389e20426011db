package cli

import (
	"testing"

	"ferry/internal/cmdline"
)

func TestVersionIsTheSameEverywhere(t *testing.T) {
	want := "ferry version " + cmdline.ThisBuild().String() + "\n"
	for _, args := range [][]string{{"version"}, {"--version"}, {"host", "--version"}} {
		if code, out, errw := run(t, args...); code != cmdline.ExitDone || out != want || errw != "" {
			t.Errorf("%v: exit code %d, %q, %q; wanted %q", args, code, out, errw, want)
		}
	}
	if code, _, _ := run(t, "version", "1"); code != cmdline.ExitUsage {
		t.Errorf("an argument: exit code %d", code)
	}
	if code, out, _ := run(t, "version", "--json"); code != cmdline.ExitDone || out[0] != '{' {
		t.Errorf("--json: exit code %d, %q", code, out)
	}
}
