package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/cli"
)

// example is a `ferry` command line somewhere in the documents or the help.
type example struct {
	where string
	args  []string
}

// Every example parses with the real options. Those that deploy run until they
// ask Nix, which fails here: 2 would be wrong usage. Nothing else is run, since
// it might reach a machine, this one for example.
func TestExamplesParse(t *testing.T) {
	examples := append(documented(t), helped(t, nil)...)
	if len(examples) < 20 {
		t.Errorf("only %d examples were found", len(examples))
	}
	for _, e := range examples {
		check := problemOfOther
		if len(e.args) > 0 && deploys(e.args[0]) {
			check = problemOfDeploying
		}
		if problem := check(t, e.args); problem != "" {
			t.Errorf("%s: ferry %s: %s", e.where, strings.Join(e.args, " "), problem)
		}
	}
}

func problemOfDeploying(t *testing.T, args []string) string {
	code, asked, said := runWithoutNix(t, args)
	if code == 2 || !asked {
		return fmt.Sprintf("exit code %d, asked Nix: %v: %s", code, asked, said)
	}
	return ""
}

// problemOfOther has the options parsed, and the command found, but not run.
// --help goes first: what follows a VM's name may be a command for the VM.
func problemOfOther(t *testing.T, args []string) string {
	n := min(1, len(args))
	words := append(append(append([]string{}, args[:n]...), "--help=true"), args[n:]...)
	code, _, said := runWithoutNix(t, words)
	_, usage, _ := strings.Cut(said, "Usage:\n")
	usage, _, _ = strings.Cut(strings.TrimSpace(usage), "\n\n")
	switch {
	case code != 0:
		return said
	case len(args) == 0 || strings.Contains(usage, "[command]") && !strings.HasPrefix(args[0], "-"):
		return "names no command"
	}
	return ""
}

// What must be wrong usage is; so the test above can fail.
func TestWrongExamplesAreFound(t *testing.T) {
	for _, line := range []string{
		"ferry rebuild", "ferry rebuild web --restart=sometimes", "ferry rebuild web --no-such-option",
		"ferry install web root@server switch", "ferry rebuild web -oProxyCommand=x", "ferry rebuld web",
		"ferry switch web root@a root@b", "ferry rebuild web --override-input nixpkgs",
	} {
		for _, args := range ferryCommands(line) {
			if code, asked, said := runWithoutNix(t, args); code != 2 || asked {
				t.Errorf("%s: exit code %d, asked Nix: %v: %s", line, code, asked, said)
			}
		}
	}
	for _, line := range []string{"ferry", "ferry host", "ferry hots probe web", "ferry host prob web", "ferry host probe web --no-such-option"} {
		for _, args := range ferryCommands(line) {
			if problemOfOther(t, args) == "" {
				t.Errorf("%s: nothing wrong was found", line)
			}
		}
	}
}

func deploys(command string) bool {
	return command == "rebuild" || command == "install" || command == "switch"
}

// documented are the examples in fenced blocks: lines after `$ ` in console
// blocks, all lines in sh blocks.
func documented(t *testing.T) []example {
	t.Helper()
	var found []example
	for _, name := range documents(t) {
		for _, b := range blocks(read(t, name)) {
			for i, line := range b.lines {
				shown, isCommand := strings.CutPrefix(line, "$ ")
				if b.language != "sh" && (b.language != "console" || !isCommand) {
					continue
				}
				for _, args := range ferryCommands(shown) {
					found = append(found, example{fmt.Sprintf("%s:%d", name, b.line+i), args})
				}
			}
		}
	}
	return found
}

// helped are the examples in the help of a command and of those below it.
func helped(t *testing.T, command []string) []example {
	t.Helper()
	var out bytes.Buffer
	args := append(append([]string{}, command...), "--help")
	if code := cli.Run(t.Context(), args, strings.NewReader(""), &out, &out); code != 0 {
		t.Fatalf("ferry %s: exit code %d", strings.Join(args, " "), code)
	}
	where := "help of ferry " + strings.Join(command, " ")
	var found []example
	section := ""
	for line := range strings.Lines(out.String()) {
		line = strings.TrimRight(line, "\n")
		if line != "" && !strings.HasPrefix(line, " ") {
			section = line
			continue
		}
		words := strings.Fields(line)
		switch {
		case section == "Examples:":
			for _, args := range ferryCommands(line) {
				found = append(found, example{where, args})
			}
		case section == "Available Commands:" && len(words) > 0 && words[0] != "help":
			found = append(found, helped(t, append(append([]string{}, command...), words[0]))...)
		}
	}
	if len(command) == 1 && deploys(command[0]) && len(found) == 0 {
		t.Errorf("%s has no examples", where)
	}
	return found
}

// runWithoutNix runs ferry with a `nix` that fails on every call, so that no
// other machine is ever reached; asked says that it was called.
func runWithoutNix(t *testing.T, args []string) (code int, asked bool, said string) {
	t.Helper()
	dir := t.TempDir()
	mark := filepath.Join(dir, "asked")
	script := "#!/bin/sh\n: >'" + mark + "'\necho 'error: this nix only fails' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "nix"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("XDG_CACHE_HOME", dir)
	var out bytes.Buffer
	code = cli.Run(context.WithoutCancel(t.Context()), args, strings.NewReader(""), &out, &out)
	_, err := os.Stat(mark)
	return code, err == nil, out.String()
}
