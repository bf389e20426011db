package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/ui"
)

// run runs ferry and returns what it said.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errw bytes.Buffer
	code = Run(t.Context(), args, strings.NewReader(""), &out, &errw)
	return code, out.String(), errw.String()
}

func newRoot() *cobra.Command {
	a := &console.Console{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, UI: ui.New(io.Discard, io.Discard, true)}
	root := rootCommand(a)
	root.InitDefaultHelpCmd()
	return root
}

// eachCommand calls f for every command that a user sees.
func eachCommand(cmd *cobra.Command, f func(path []string, cmd *cobra.Command)) {
	if cmd.Hidden || cmd.Name() == "help" {
		return
	}
	f(strings.Fields(cmd.CommandPath())[1:], cmd)
	for _, c := range cmd.Commands() {
		eachCommand(c, f)
	}
}

// Every command's help is on stdout, ends well, and has the exit codes once.
func TestHelp(t *testing.T) {
	eachCommand(newRoot(), func(path []string, cmd *cobra.Command) {
		code, out, errw := run(t, append(path, "--help")...)
		if code != 0 || errw != "" || strings.Count(out, "Exit codes:") != 1 {
			t.Errorf("%v: exit code %d, stderr %q, help:\n%s", path, code, errw, out)
		}
		for _, words := range []string{"0 done", "1 failed", "2 wrong usage", "5 locked", "130 interrupted"} {
			if !strings.Contains(out, words) {
				t.Errorf("%v: the help lacks %q", path, words)
			}
		}
		for line := range strings.Lines(out) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 100 && !strings.Contains(line, "--") {
				t.Errorf("%v: a line of %d characters: %s", path, len(line), line)
			}
		}
	})
}

// What the help shows as examples is what the parser takes.
func TestExamples(t *testing.T) {
	tried := 0
	eachCommand(newRoot(), func(path []string, cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if words[0] != "ferry" {
				t.Errorf("%v: an example of something else: %s", path, line)
				continue
			}
			tried++
			if err := parses(words[1:]); err != nil {
				t.Errorf("%s: %v", strings.TrimSpace(line), err)
			}
		}
	})
	if tried < 8 {
		t.Errorf("only %d examples", tried)
	}
	for _, wrong := range []string{"rebuild web --frobnicate", "rebuild", "rebuild web a b c", "frobnicate"} {
		if parses(strings.Fields(wrong)) == nil {
			t.Errorf("%s: taken", wrong)
		}
	}
}

// parses goes as far as a command does before it acts.
func parses(words []string) error {
	cmd, rest, err := newRoot().Find(option.JoinTwoValues(words))
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	args := cmd.Flags().Args()
	if err := cmd.ValidateArgs(args); err != nil {
		return err
	}
	addresses, deploys := map[string]int{"rebuild": 2, "install": 1, "switch": 1}[cmd.Name()]
	switch {
	case deploys:
		_, err = parsePositionals(cmd, args, addresses, actions())
	case cmd == cmd.Root() && len(args) > 0:
		err = cmdline.UnknownCommand(cmd, args[0])
	}
	return err
}

// Wrong usage has the exit code for it and a next step, whatever found it.
func TestWrongUsage(t *testing.T) {
	for _, args := range []string{
		"", "rebuild", "rebuild --frobnicate", "rebuild web --restart", "install web a b", "switch web boot",
		"host", "host probe", "host probe a b", "host probe a/b", "host session x", "frobnicate", "rebuild web --impure=no",
		"rebuild web --override-input a", "rebuild web --override-input a b c d e",
	} {
		code, _, errw := run(t, strings.Fields(args)...)
		if code != cmdline.ExitUsage || strings.Count(errw, "error: ") != 1 || !strings.Contains(errw, "hint: ") {
			t.Errorf("ferry %s: exit code %d\n%s", args, code, errw)
		}
	}
}
