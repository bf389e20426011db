package flake

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

//go:embed file.nix
var fileExpression string

// origin is where an evaluation came from, for messages.
type origin struct {
	ref  string // as the user wrote it
	file bool   // a Nix file, not a flake
}

func (o origin) String() string {
	if o.file {
		return o.ref
	}
	return "flake " + o.ref
}

// file evaluates a Nix file that is no flake. Nothing says what the result rests on,
// so that it is never cached.
func (e *Evaluator) file(ctx context.Context, src Source, name microvm.Name, evaluation *Evaluation, use take) error {
	options, args, err := splitArguments(src.Options)
	if err != nil {
		return err
	}
	version, err := e.Nix.Version(ctx)
	if err != nil {
		return err
	}
	if err := nix.CheckVersion(version, "this machine"); err != nil {
		return err
	}
	path, err := filePath(src.File)
	if err != nil {
		return err
	}
	evaluation.URL = path
	data, err := e.Nix.Eval(ctx, nix.EvalRequest{
		File:    path,
		Apply:   fmt.Sprintf("value: %s ((%s) { args = { %s }; } value)", expressionFor(name), fileExpression, args),
		Options: options,
	})
	if err != nil {
		err = readable(src.File, []string{filepath.Dir(path)}, err)
		var failed *EvalError
		if errors.As(err, &failed) {
			failed.File = true
		}
		return err
	}
	_, err = evaluation.decode(data, origin{ref: src.File, file: true}, use)
	return schemaOf(src, err)
}

// filePath is the absolute path of a Nix file, or of a directory with default.nix.
func filePath(file string) (string, error) {
	if strings.HasPrefix(file, "-") || strings.ContainsFunc(file, unicode.IsControl) || len(file) > maxRefLength {
		return "", fmt.Errorf("%.120q is not the name of a Nix file", file)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		info, err = os.Stat(filepath.Join(path, "default.nix"))
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("the Nix file cannot be read: %w", err)
	case !info.Mode().IsRegular(): // Nix waits for ever at a pipe
		return "", fmt.Errorf("the Nix file cannot be read: %s is not a regular file", info.Name())
	}
	return path, nil
}

var argumentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_'-]*$`)

// splitArguments takes --arg NAME EXPRESSION and --argstr NAME TEXT out of the
// options, as the content of an attribute set: Nix itself gives them only to
// functions below what is evaluated. The last one of a name counts, as for Nix.
func splitArguments(options []string) (others []string, args string, err error) {
	values := map[string]string{}
	for i := 0; i < len(options); i++ {
		option := options[i]
		if option != "--arg" && option != "--argstr" {
			others = append(others, option)
			continue
		}
		if i+2 >= len(options) || !argumentName.MatchString(options[i+1]) {
			return nil, "", fmt.Errorf("%s needs a name and a value", option)
		}
		value := options[i+2]
		if option == "--argstr" {
			value = nixString(value)
		}
		values[options[i+1]] = value
		i += 2
	}
	var b strings.Builder
	names := keys(values)
	slices.Sort(names)
	for _, name := range names {
		// On lines of its own: an expression may end with a comment.
		fmt.Fprintf(&b, "%s = (\n%s\n); ", nixString(name), values[name])
	}
	return others, b.String(), nil
}

// nixString is a text as a Nix string (Nix manual, "String literal").
func nixString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}
