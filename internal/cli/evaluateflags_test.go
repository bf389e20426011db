package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"ferry/internal/cli/option"
	"ferry/internal/flake"
)

// parsedSource is what a command with the options takes them for.
func parsedSource(t *testing.T, args ...string) (flake.Source, error) {
	t.Helper()
	var o deployOptions
	var source flake.Source
	cmd := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		req, err := o.request(positionals{name: "web"})
		source = req.Source
		return err
	}}
	o.addFlags(cmd)
	o.addInstallFlags(cmd)
	cmd.SetArgs(option.JoinTwoValues(args))
	err := cmd.Execute()
	return source, err
}

func TestWhatIsEvaluated(t *testing.T) {
	for _, c := range []struct {
		args []string
		want flake.Source
	}{
		{nil, flake.Source{Ref: "."}},
		{[]string{"--file", "vms.nix", "--arg", "x", "-1", "--argstr", "y", "--flake", "-I", "a=b"},
			flake.Source{Ref: ".", File: "vms.nix", Options: []string{"--arg", "x", "-1", "--argstr", "y", "--flake", "--include", "a=b"}}},
		{[]string{"--evaluation", "e.json", "--option", "cores", "--impure", "--offline"},
			flake.Source{Ref: ".", Evaluation: "e.json", Options: []string{"--option", "cores", "--impure", "--offline"}}},
		{[]string{"--file", "vms.nix", "--impure", "--show-trace"}, flake.Source{Ref: ".", File: "vms.nix", Options: []string{"--impure", "--show-trace"}}},
	} {
		got, err := parsedSource(t, c.args...)
		if err != nil || got.Ref != c.want.Ref || got.File != c.want.File || got.Evaluation != c.want.Evaluation || !slices.Equal(got.Options, c.want.Options) {
			t.Errorf("%q: %+v, %v", c.args, got, err)
		}
	}
}

func TestContradictingSources(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--file a.nix --flake .", "--file and --flake can't be used together"},
		{"--evaluation a.json -f .", "--evaluation and --flake can't be used together"},
		{"--file a.nix --evaluation a.json", "--evaluation and --file can't"},
		{"--file a.nix --eval-on host", "--file and --eval-on host can't"},
		{"--evaluation a.json --eval-on=host", "--evaluation and --eval-on host can't"},
		{"--evaluation a.json --override-input a b", "--evaluation and --override-input can't"},
		{"--evaluation a.json --impure", "--evaluation and --impure can't"},
		{"--evaluation a.json --arg a b", "--evaluation and --arg can't"},
		{"--file a.nix --override-input a b", "--file and --override-input can't"},
		{"--file -", "--file doesn't read its input"},
		{"--file=", "--file needs the name of a file"},
		{"--evaluation=", "--evaluation needs the name of a file"},
		{"--argstr a b", "--argstr is for --file"},
	} {
		// The commands themselves, for the exit code.
		for _, command := range []string{"rebuild", "install", "switch"} {
			if command == "switch" && strings.Contains(c.args, "--eval-on") {
				continue
			}
			code, _, errw := run(t, append([]string{command, "web"}, strings.Fields(c.args)...)...)
			if code != 2 || !strings.Contains(errw, c.want) || !strings.Contains(errw, "hint: ") {
				t.Errorf("%s %s: exit code %d, %s", command, c.args, code, errw)
			}
		}
	}
}
