package flake

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/trouble"
)

// UnknownVMError is a name that the flake has no nixosConfigurations for.
type UnknownVMError struct {
	Ref      string // the flake, as the user wrote it
	Name     microvm.Name
	Existing []string // all configurations of the flake, sorted
	File     bool     // it is a Nix file, not a flake
}

const maxListedNames = 30

func (e *UnknownVMError) Error() string {
	msg := fmt.Sprintf("%s has no nixosConfigurations.%s%s", origin{e.Ref, e.File}, e.Name.Attribute(), didYouMean(string(e.Name), e.Existing))
	if len(e.Existing) == 0 {
		return msg + "; it has no nixosConfigurations at all"
	}
	msg += "; there are: " + strings.Join(e.Existing[:min(len(e.Existing), maxListedNames)], ", ")
	if more := len(e.Existing) - maxListedNames; more > 0 {
		msg += fmt.Sprintf(" and %d more", more)
	}
	return msg
}

// Section is the section of docs/troubleshooting.md about it.
func (*UnknownVMError) Section() trouble.Section { return trouble.UnknownVM }

// Hint is what to do next.
func (e *UnknownVMError) Hint() string {
	if e.File {
		return "name one of them, or another file with --file"
	}
	return "name one of them, or another flake with --flake"
}

// NoRunnerError is a configuration that is no MicroVM.
type NoRunnerError struct {
	Ref    string
	Name   microvm.Name
	Reason string // "it does not define config.microvm.declaredRunner", …
	File   bool   // it is a Nix file, not a flake
}

func (e *NoRunnerError) Error() string {
	return fmt.Sprintf("nixosConfigurations.%s of %s is not a MicroVM: %s", e.Name.Attribute(), origin{e.Ref, e.File}, e.Reason)
}

// Hint is what to do next.
func (e *NoRunnerError) Hint() string {
	return "import microvm.nixosModules.microvm into that configuration"
}

// EvalError is an evaluation that Nix gave up, or a flake that it could not
// fetch or lock.
type EvalError struct {
	Ref      string
	Message  string // Nix's own words without the trace, at most maxEvalLines lines
	Position string // FILE:LINE:COLUMN, the one nearest to the error; may be empty
	Err      error  // *nix.EvalFailure, which has all that Nix said
	File     bool   // it is a Nix file, not a flake
}

func (e *EvalError) Error() string {
	msg := fmt.Sprintf("evaluating %s: %s", origin{e.Ref, e.File}, e.Message)
	if e.Position != "" {
		msg += "\nat " + e.Position
	}
	return msg
}

// Section is the section of docs/troubleshooting.md about it.
func (e *EvalError) Section() trouble.Section {
	switch {
	case trouble.Of(e.Err) != "": // a full disk, say
		return trouble.Of(e.Err)
	case e.untracked():
		return trouble.UntrackedFile
	case e.NoFlake():
		return trouble.FlakeNotFound
	}
	return trouble.EvaluationFailed
}

// Hint is what to do next.
func (e *EvalError) Hint() string {
	switch {
	case trouble.Of(e.Err) != "":
		return trouble.Hint(e.Err)
	case e.untracked():
		return "if that file is there, git does not know it yet: `git add` it, since Nix sees only those files of a repository that git tracks"
	case e.NoFlake():
		return "run ferry in the flake's directory, or name it with --flake"
	}
	return "correct it there; --show-trace shows how Nix came to it"
}

// NoFlake reports whether there is no flake where the reference points.
func (e *EvalError) NoFlake() bool {
	return !e.File && strings.Contains(e.Message, "flake.nix") && e.Position == ""
}

// untracked reports whether a file is missing in the copy of the flake that Nix
// evaluates; it may be there in the work tree.
func (e *EvalError) untracked() bool { return untrackedPattern.MatchString(e.Message) }

// Unwrap gives the *nix.EvalFailure.
func (e *EvalError) Unwrap() error { return e.Err }

const (
	maxEvalLines = 30
	maxEvalBytes = 4 << 10
	errorIndent  = "       " // of all but the first line of a message of Nix
)

var (
	// The message proper comes last; traces, if any, stand between it and the
	// first `error:`.
	errorPattern    = regexp.MustCompile(`^ *error: ?(.*)$`)
	positionPattern = regexp.MustCompile(`^ *at (\S.*:[0-9]+:[0-9]+):?$`)
	codePattern     = regexp.MustCompile(`^ *[0-9]* *\|`)
	// 2.26: path '/nix/store/…-source/vms/web.nix' does not exist. 2.31 and newer:
	// Path 'vms/web.nix' in the repository "…" is not tracked by Git.
	untrackedPattern = regexp.MustCompile(`is not tracked by Git|[Pp]ath '/nix/store/[^']*' does not exist|getting status of '/nix/store/[^']*': No such file|source tree referenced by '[^']*' does not contain a '[^']*flake\.nix' file`)
	truncPattern     = regexp.MustCompile(`\(stack trace truncated; use '--show-trace'.*\)`)
)

// sourceRoots are the names by which Nix calls the flake's source in positions:
// its place in the store (2.26), the work tree, or the locked reference (2.34).
func sourceRoots(m *nix.Metadata) []string {
	var roots []string
	if m.Path != "" {
		roots = append(roots, m.Path)
	}
	for _, url := range []string{m.URL, m.ResolvedURL} {
		if url == "" {
			continue
		}
		roots = append(roots, "«"+url+"»")
		location, _, _ := strings.Cut(url, "?")
		for _, scheme := range []string{"git+file://", "path:"} {
			if dir, ok := strings.CutPrefix(location, scheme); ok && len(dir) > 1 && strings.HasPrefix(dir, "/") {
				roots = append(roots, strings.TrimSuffix(dir, "/"))
			}
		}
	}
	return roots
}

// newEvalError trims what Nix said to its message and the nearest position.
// Positions in one of the roots, the flake's source, are shown relative to the
// flake and win over those in its inputs.
func newEvalError(ref string, roots []string, failure *nix.EvalFailure) *EvalError {
	e := &EvalError{Ref: ref, Err: failure}
	start := -1
	for i, line := range failure.Stderr {
		if errorPattern.MatchString(line) {
			start = i
		}
	}
	if start < 0 {
		e.Message = bounded(failure.Stderr[max(0, len(failure.Stderr)-maxEvalLines):])
		if e.Message == "" {
			e.Message = "nix failed without a message"
		}
		return e
	}
	e.Message = messageFrom(failure.Stderr[start:])
	e.Position = nearestPosition(failure.Stderr, start, roots)
	return e
}

// messageFrom joins the lines of a message up to its position and code.
func messageFrom(lines []string) string {
	m := errorPattern.FindStringSubmatch(lines[0])
	words := []string{m[1]}
	for _, line := range lines[1:] {
		if positionPattern.MatchString(line) || codePattern.MatchString(line) {
			break
		}
		if truncPattern.MatchString(line) {
			continue
		}
		words = append(words, strings.TrimPrefix(line, errorIndent))
	}
	return bounded(words)
}

func bounded(lines []string) string {
	text := strings.TrimSpace(strings.Join(lines[:min(len(lines), maxEvalLines)], "\n"))
	if len(text) > maxEvalBytes {
		text = strings.ToValidUTF8(text[:maxEvalBytes], "") + "…"
	}
	return text
}

// nearestPosition prefers the position that stands with the message, then the
// innermost trace in the flake itself, then the innermost trace anywhere.
func nearestPosition(lines []string, start int, roots []string) string {
	relative := func(pos string) (string, bool) {
		for _, root := range roots {
			if rest, ok := strings.CutPrefix(pos, root+"/"); ok {
				return rest, true
			}
		}
		return pos, false
	}
	last := ""
	for i, line := range slices.Backward(lines) {
		m := positionPattern.FindStringSubmatch(line)
		// ferry's own expression is a string: a position in it helps nobody.
		if m == nil || strings.HasPrefix(m[1], "«string»") {
			continue
		}
		pos, own := relative(m[1])
		if own || i > start {
			return pos
		}
		if last == "" {
			last = pos
		}
	}
	return last
}
