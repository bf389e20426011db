package script

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	unexpectedFile = "unexpected"
	unexpectedCode = 97
)

// call is one announced call, which may happen more than once.
//
//	nix … flake metadata --json -- .
//	> a line for stdout
//	2> a line for stderr
//	! 1
type call struct {
	words          []string // `…` stands for any number of words
	stdout, stderr string
	code           int
}

// readCalls reads DIR/announced; without the file no call is.
func readCalls(dir string) ([]call, error) {
	data, err := os.ReadFile(filepath.Join(dir, "announced"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var calls []call
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		kind, rest, _ := strings.Cut(line, " ")
		if kind != ">" && kind != "2>" && kind != "!" {
			if line != "" {
				calls = append(calls, call{words: strings.Fields(line)})
			}
			continue
		}
		if len(calls) == 0 {
			return nil, fmt.Errorf("announced: an answer to no call: %s", line)
		}
		last := &calls[len(calls)-1]
		switch kind {
		case ">":
			last.stdout += rest + "\n"
		case "2>":
			last.stderr += rest + "\n"
		case "!":
			if last.code, err = strconv.Atoi(rest); err != nil {
				return nil, fmt.Errorf("announced: %w", err)
			}
		}
	}
	return calls, err
}

// fits matches words with a pattern of words.
func fits(pattern, words []string) bool {
	if len(pattern) == 0 {
		return len(words) == 0
	}
	if pattern[0] == "…" {
		return fits(pattern[1:], words) || len(words) > 0 && fits(pattern, words[1:])
	}
	return len(words) > 0 && pattern[0] == words[0] && fits(pattern[1:], words[1:])
}

// play is the fake program.
func play(program string, args []string) int {
	dir := os.Getenv("FAKE_DIR")
	calls, err := readCalls(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return unexpectedCode
	}
	words := append([]string{program}, args...)
	i := slices.IndexFunc(calls, func(c call) bool { return fits(c.words, words) })
	file := usedFile(dir, i)
	if i < 0 {
		file = filepath.Join(dir, unexpectedFile)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return unexpectedCode
	}
	defer f.Close()
	fmt.Fprintf(f, "%q\n", words)
	if i < 0 {
		fmt.Fprintf(os.Stderr, "fake %s: unexpected call: %q\n", program, words)
		return unexpectedCode
	}
	fmt.Fprint(os.Stdout, calls[i].stdout)
	fmt.Fprint(os.Stderr, calls[i].stderr)
	return calls[i].code
}

func usedFile(dir string, i int) string { return filepath.Join(dir, "used-"+strconv.Itoa(i)) }

func exitCode(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	return strconv.Itoa(exit.ExitCode())
}
