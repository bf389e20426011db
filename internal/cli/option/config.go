package option

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"ferry/internal/cmdline"
	"ferry/internal/flake"
)

// Config says what a VM is evaluated from: a flake, a Nix file, or an
// evaluation that was made before.
type Config struct {
	flake      string
	file       string
	evaluation string
	nix        Nix
	set        *pflag.FlagSet
}

// AddFlags is for commands that evaluate.
func (o *Config) AddFlags(fs *pflag.FlagSet) {
	o.set = fs
	fs.StringVarP(&o.flake, "flake", "f", ".", "the flake that has nixosConfigurations.NAME")
	fs.StringVar(&o.file, "file", "", "a Nix file instead of a flake: it yields nixosConfigurations.NAME (and ferry), or NAME itself; never cached")
	fs.StringVar(&o.evaluation, "evaluation", "", "deploy what was evaluated before, as microvm.deploy and lib.apps of ferry's flake have it in this file; nothing is evaluated")
	o.nix.AddFlags(fs)
	o.nix.AddFileFlags(fs)
}

// Source is what the options mean, where they don't contradict one another.
func (o *Config) Source(evalOnHost bool) (flake.Source, error) {
	s := flake.Source{Ref: o.flake, File: o.file, Evaluation: o.evaluation, Options: o.nix.Words}
	given := func(name string) bool { return o.set.Changed(name) }
	conflict := func(a, b, next string) error {
		return &cmdline.UsageError{Err: fmt.Errorf("%s and %s can't be used together", a, b), Next: next}
	}
	for _, name := range []string{"file", "evaluation"} {
		switch {
		case !given(name):
			continue
		case o.set.Lookup(name).Value.String() == "":
			return s, &cmdline.UsageError{Err: fmt.Errorf("--%s needs the name of a file", name), Next: "see --help"}
		case given("flake"):
			return s, conflict("--"+name, "--flake", "leave out one of them")
		case evalOnHost:
			return s, conflict("--"+name, "--eval-on host", "only a flake can be evaluated on the host: leave out --eval-on host")
		}
	}
	switch {
	case s.File == "-":
		return s, &cmdline.UsageError{Err: errors.New("--file doesn't read its input"), Next: "name a Nix file, or a directory with default.nix"}
	case s.File != "" && s.Evaluation != "":
		return s, conflict("--evaluation", "--file", "leave out one of them")
	case s.Evaluation != "":
		if name := firstOf(o.nix.Words, evaluationOptions()); name != "" {
			return s, conflict("--evaluation", name, "it was evaluated already: say that to the command that evaluates (nix run …), or use --flake")
		}
	case s.File != "":
		if name := firstOf(o.nix.Words, flakeOptions()); name != "" {
			return s, conflict("--file", name, "it is about the inputs of flakes: leave it out")
		}
	default:
		if name := firstOf(o.nix.Words, []string{"--arg", "--argstr"}); name != "" {
			return s, &cmdline.UsageError{Err: fmt.Errorf("%s is for --file: the outputs of a flake take no arguments", name), Next: "leave it out, or name a Nix file with --file"}
		}
	}
	return s, nil
}

// flakeOptions are Nix's options about the inputs and the lock file of a flake.
func flakeOptions() []string {
	return []string{
		"--override-input", "--reference-lock-file", "--no-write-lock-file", "--no-update-lock-file",
		"--recreate-lock-file", "--commit-lock-file",
	}
}

// evaluationOptions are those that change what an evaluation yields, or how it goes.
// The others are for the build, too, or change nothing.
func evaluationOptions() []string {
	return slices.Concat(flakeOptions(), []string{
		"--arg", "--argstr", "--include", "--impure", "--override-flake", "--inputs-from", "--no-registries",
		"--accept-flake-config", "--refresh", "--allow-dirty", "--no-allow-dirty", "--show-trace",
	})
}

// firstOf is the first of the options that is among words; values of others don't
// count.
func firstOf(words, options []string) string {
	for i := 0; i < len(words); i++ {
		if slices.Contains(options, words[i]) {
			return words[i]
		}
		name := strings.TrimPrefix(words[i], "--")
		switch {
		case contains(twoValueOptions(), name) || contains(fileOptions(), name):
			i += 2
		case contains(oneValueOptions(), name):
			i++
		}
	}
	return ""
}

func contains(m map[string]string, name string) bool { _, ok := m[name]; return ok }
