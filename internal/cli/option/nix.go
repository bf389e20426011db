package option

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"ferry/internal/cmdline"
)

// Nix's evaluation options go through to Nix under their own names. Those that
// take two values are joined before the command line is parsed, since pflag
// knows options of one value only.

// twoValueOptions are Nix's options with two values.
func twoValueOptions() map[string]string {
	return map[string]string{
		"override-input": "override a flake input: INPUT FLAKE",
		"override-flake": "override a flake reference: ORIGINAL RESOLVED",
		"option":         "set a Nix setting: NAME VALUE",
	}
}

func oneValueOptions() map[string]string {
	return map[string]string{
		"inputs-from":                 "use the inputs of this flake as registry entries",
		"reference-lock-file":         "read this lock file instead of the flake's",
		"extra-experimental-features": "enable these experimental features of Nix",
		"log-format":                  "Nix's log format at evaluation",
		"netrc-file":                  "credentials for fetching inputs",
	}
}

// fileOptions are those with two values that only a Nix file takes.
func fileOptions() map[string]string {
	return map[string]string{
		"arg":    "with --file: give its function this argument: NAME EXPRESSION",
		"argstr": "with --file: give its function this text as an argument: NAME TEXT",
	}
}

func flagOptions() map[string]string {
	return map[string]string{
		"impure":              "allow impure evaluation (its result is never cached)",
		"accept-flake-config": "accept Nix settings from the flake",
		"no-write-lock-file":  "do not write the flake's lock file",
		"no-update-lock-file": "do not allow any change of the flake's lock file",
		"recreate-lock-file":  "recreate the flake's lock file",
		"commit-lock-file":    "commit changes of the flake's lock file",
		"no-registries":       "do not use flake registries",
		"refresh":             "treat cached downloads as out of date",
		"offline":             "use no substituters and take everything downloaded as fresh",
		"show-trace":          "show the whole trace of evaluation errors",
		"allow-dirty":         "allow a dirty working tree (Nix's default)",
		"no-allow-dirty":      "refuse a dirty working tree",
	}
}

// JoinTwoValues turns `--override-input A B` into one argument.
func JoinTwoValues(args []string) []string {
	isTwo := func(name string) bool { return contains(twoValueOptions(), name) || contains(fileOptions(), name) }
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		name, isLong := strings.CutPrefix(args[i], "--")
		if !isLong || !isTwo(name) || i+2 >= len(args) {
			out = append(out, args[i])
			continue
		}
		out = append(out, "--"+name+"="+args[i+1]+cmdline.ValueSeparator+args[i+2])
		i += 2
	}
	return out
}

// SplitTwoValues undoes JoinTwoValues in words that are not ferry's.
func SplitTwoValues(words []string) []string {
	var out []string
	for _, w := range words {
		option, values, joined := strings.Cut(w, "=")
		if a, b, two := strings.Cut(values, cmdline.ValueSeparator); joined && two {
			out = append(out, option, a, b)
			continue
		}
		out = append(out, w)
	}
	return out
}

// Nix collects Nix's options in the order in which they were given.
type Nix struct{ Words []string }

// AddFlags is for commands that evaluate, or may ask a flake.
func (n *Nix) AddFlags(fs *pflag.FlagSet) {
	for name, help := range twoValueOptions() {
		fs.Var(&nixValue{to: n, name: name, values: 2}, name, help)
	}
	for name, help := range oneValueOptions() {
		fs.Var(&nixValue{to: n, name: name, values: 1}, name, help)
	}
	for name, help := range flagOptions() {
		fs.Var(&nixValue{to: n, name: name}, name, help)
		fs.Lookup(name).NoOptDefVal = "true"
	}
}

// AddFileFlags is for commands that take --file.
func (n *Nix) AddFileFlags(fs *pflag.FlagSet) {
	for name, help := range fileOptions() {
		fs.Var(&nixValue{to: n, name: name, values: 2}, name, help)
	}
	fs.VarP(&nixValue{to: n, name: "include", values: 1}, "include", "I", "add this to the search path of Nix for <…>: PATH or NAME=PATH")
}

// nixValue is one option of Nix as pflag sees it.
type nixValue struct {
	to     *Nix
	name   string
	values int
}

func (v *nixValue) String() string { return "" }

func (v *nixValue) Type() string { return [...]string{"bool", "VALUE", "NAME VALUE"}[v.values] }

func (v *nixValue) Set(s string) error {
	option := "--" + v.name
	switch v.values {
	case 0:
		if s != "true" {
			return fmt.Errorf("%s takes no value", option)
		}
		v.to.Words = append(v.to.Words, option)
	case 1:
		v.to.Words = append(v.to.Words, option, s)
	default:
		a, b, ok := strings.Cut(s, cmdline.ValueSeparator)
		if !ok || a == "" {
			return fmt.Errorf("%s needs two values", option)
		}
		if strings.HasPrefix(a, "-") {
			return fmt.Errorf("%s: %q is not a valid value", option, a)
		}
		v.to.Words = append(v.to.Words, option, a, b)
	}
	return nil
}
