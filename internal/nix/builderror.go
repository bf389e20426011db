package nix

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ferry/internal/microvm"
)

const (
	maxLogTail      = 25  // lines of a failed builder's log in a BuildError
	maxLogs         = 256 // builders whose log ends are kept while a build runs
	maxMessageLines = 12  // of Nix's own message in a BuildError
	maxErrorBlocks  = 512 // of Nix's messages looked at
)

// BuildError is a derivation that could not be built: the one at the bottom of
// it, not those that only depend on it.
type BuildError struct {
	Derivation microvm.StorePath
	LogTail    []string // the end of its builder's output, at most maxLogTail lines
	Message    string   // Nix's own words, a few lines at most
	Err        error    // the *CommandError
}

func (e *BuildError) Error() string {
	msg := fmt.Sprintf("building %s failed: %s", e.Derivation, e.Message)
	if len(e.LogTail) > 0 {
		msg += "\nthe end of its log:\n  " + strings.Join(e.LogTail, "\n  ")
	}
	return msg
}

// Unwrap gives the *CommandError.
func (e *BuildError) Unwrap() error { return e.Err }

var (
	drvPattern = regexp.MustCompile(`/nix/store/[0-9a-df-np-sv-z]{32}-[A-Za-z0-9+._?=-]{1,207}\.drv\b`)
	// `NAME> LINE` is a builder's output under --print-build-logs.
	builderPattern = regexp.MustCompile(`^([A-Za-z0-9+._?=-]{1,211})> ?(.*)$`)
	// 2.26: `N dependencies of derivation '…' failed to build`, and in the end
	// `build of '…' failed`. 2.31 and newer: `Cannot build '…'.` with `Reason: N
	// dependency failed.`, and `Build failed due to failed dependency`.
	consequencePattern = regexp.MustCompile(`(?i)dependenc(y|ies) of derivation .* failed|reason: [0-9]+ dependenc(y|ies) failed|^build of .* failed$|failed due to failed dependency`)
	// What follows in a message but only repeats the log or the paths.
	logHeadPattern = regexp.MustCompile(`(?i)^last [0-9]+ log lines:$`)
)

// buildReport reads Nix's stderr line by line while a build runs, and keeps what
// a BuildError needs.
type buildReport struct {
	logs   map[string][]string // end of the output, by derivation name
	order  []string            // names in logs, the one seen first in front
	blocks [][]string          // Nix's `error:` messages, without indentation
	open   bool                // the last block may go on
}

func (r *buildReport) line(line string) {
	switch {
	case strings.HasPrefix(line, "error:"):
		r.open = len(r.blocks) < maxErrorBlocks
		if r.open {
			r.blocks = append(r.blocks, []string{strings.TrimSpace(strings.TrimPrefix(line, "error:"))})
		}
	case r.open && strings.HasPrefix(line, "       "):
		last := &r.blocks[len(r.blocks)-1]
		if len(*last) < maxTailLines*2 {
			*last = append(*last, strings.TrimPrefix(line, "       "))
		}
	default:
		r.open = false
		if m := builderPattern.FindStringSubmatch(line); m != nil {
			r.builder(m[1], m[2])
		}
	}
}

func (r *buildReport) builder(name, line string) {
	if r.logs == nil {
		r.logs = map[string][]string{}
	}
	if _, known := r.logs[name]; !known {
		if len(r.order) == maxLogs {
			delete(r.logs, r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, name)
	}
	lines := append(r.logs[name], line)
	r.logs[name] = slices.Clone(lastLines(lines))
}

// result is the first failure that is no consequence of another; nil when no
// message names a derivation.
func (r *buildReport) result() *BuildError {
	var fallback *BuildError
	for _, block := range r.blocks {
		text := strings.Join(block, "\n")
		drv, err := microvm.ParseStorePath(drvPattern.FindString(text))
		if err != nil {
			continue
		}
		b := &BuildError{Derivation: drv}
		b.Message, b.LogTail = splitMessage(block)
		for _, name := range []string{drvName(drv), unversioned(drvName(drv))} {
			if printed := r.logs[name]; len(printed) > 0 {
				b.LogTail = printed
				break
			}
		}
		if !slices.ContainsFunc(block, consequencePattern.MatchString) {
			return b
		}
		if fallback == nil {
			fallback = b
		}
	}
	return fallback
}

// drvName is the name of a derivation: its path without hash and `.drv`.
func drvName(drv microvm.StorePath) string {
	return strings.TrimSuffix(microvm.SystemBaseName(string(drv)), ".drv")
}

// unversioned is what Nix prints before a builder's output: the name up to the
// first dash that no letter follows (Nix manual, builtins.parseDrvName).
func unversioned(name string) string {
	for i := range len(name) - 1 {
		if c := name[i+1] | 0x20; name[i] == '-' && (c < 'a' || c > 'z') {
			return name[:i]
		}
	}
	return name
}

// splitMessage parts Nix's words from the end of the log that it quotes in them
// when it did not print the log before.
func splitMessage(block []string) (message string, log []string) {
	var words []string
	inLog, inOutputs := false, false
	for _, line := range block {
		text := strings.TrimSpace(line)
		switch {
		case logHeadPattern.MatchString(text):
			inLog, inOutputs = true, false
		case strings.HasPrefix(text, "For full logs, run"):
			return join(words), lastLines(log)
		case inLog && strings.HasPrefix(text, ">"):
			log = append(log, strings.TrimPrefix(strings.TrimPrefix(text, ">"), " "))
		case text == "Output paths:":
			inOutputs = true
		case inOutputs && strings.HasPrefix(text, "/nix/store/"):
		case text != "":
			inLog, inOutputs = false, false
			words = append(words, text)
		}
	}
	return join(words), lastLines(log)
}

func join(words []string) string {
	return strings.TrimSuffix(strings.Join(words[:min(len(words), maxMessageLines)], "\n"), ";")
}

func lastLines(log []string) []string { return log[max(0, len(log)-maxLogTail):] }
