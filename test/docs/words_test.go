package docs

import (
	"slices"
	"strings"
	"testing"
)

// ferryCommands returns the arguments of each `ferry …` in a line of shell. It
// knows quotes, comments and operators, no expansions.
func ferryCommands(line string) [][]string {
	var found [][]string
	for _, words := range simpleCommands(line) {
		for len(words) > 0 && (isAssignment(words[0]) || slices.Contains([]string{"if", "then", "else", "!", "{", "sudo"}, words[0])) {
			words = words[1:]
		}
		if len(words) > 0 && words[0] == "ferry" {
			found = append(found, words[1:])
		}
	}
	return found
}

func isAssignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// simpleCommands splits a line at its operators.
func simpleCommands(line string) [][]string {
	var commands [][]string
	var words []string
	var word strings.Builder
	var quote rune
	started := false
	endWord := func() {
		if started {
			words = append(words, word.String())
		}
		word.Reset()
		started = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ' || r == '\t':
			endWord()
		case r == '#' && !started:
			endCommand()
			return commands
		case strings.ContainsRune("|&;<>", r):
			endCommand()
		default:
			word.WriteRune(r)
			started = true
		}
	}
	endCommand()
	return commands
}

func TestFerryCommands(t *testing.T) {
	for line, want := range map[string]string{
		"ferry rebuild web":                           "rebuild|web",
		"ferry rebuild web   # comment":               "rebuild|web",
		"cd infra && ferry rebuild 'a b' \"c\"":       "rebuild|a b|c",
		"if ferry rebuild web --json | jq -e .; then": "rebuild|web|--json",
		"NO_COLOR=1 ferry switch web>out":             "switch|web",
		"echo ferry rebuild":                          "",
		"echo 'ferry rebuild web' | at 03:00":         "",
		"# ferry rebuild":                             "",
		"ssh root@server systemctl status":            "",
	} {
		var got []string
		for _, args := range ferryCommands(line) {
			got = append(got, strings.Join(args, "|"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
