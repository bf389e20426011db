package option

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/deploy/request"
	"ferry/internal/microvm"
)

// BuildHelp is what the commands that build say of it.
const BuildHelp = `

--build-on says where the runner is built: host (default; only derivations
travel), local (here, then copied), or ssh-ng://[user@]builder (there, then
copied through this machine). What the host can fetch from its own caches isn't
copied. With --eval-on host the flake and its inputs are copied, and the host
evaluates and builds.`

// Build says where to evaluate and build.
type Build struct {
	on           string
	evalOn       string
	substitute   bool
	noSubstitute bool
}

func evalPlaces() []string { return []string{"operator", "host"} }

// AddFlags is for commands that build.
func (o *Build) AddFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.on, "build-on", "", "where to build: host, local, or ssh-ng://[user@]builder (default: the flake's, else host)")
	fs.StringVar(&o.evalOn, "eval-on", "operator", "where to evaluate: operator (here) or host (which gets the flake with all its inputs, and needs no network)")
	fs.BoolVar(&o.substitute, "substitute-on-destination", true, "let the host fetch what was built elsewhere from its own caches where it can")
	fs.BoolVar(&o.noSubstitute, "no-substitute-on-destination", false, "send the host all that was built elsewhere")
	_ = cmd.RegisterFlagCompletionFunc("build-on", cobra.FixedCompletions([]string{"host", "local", "ssh-ng://"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("eval-on", cobra.FixedCompletions(evalPlaces(), cobra.ShellCompDirectiveNoFileComp))
}

// Building is what the options say, checked.
func (o *Build) Building() (request.Building, error) {
	b := request.Building{NoSubstitute: o.noSubstitute || !o.substitute, EvalOnHost: o.evalOn == "host"}
	if o.evalOn != "" && !slices.Contains(evalPlaces(), o.evalOn) {
		return b, &cmdline.UsageError{Err: fmt.Errorf("unknown --eval-on=%.40q", o.evalOn), Next: "one of operator, host"}
	}
	if o.on == "" {
		return b, nil
	}
	place, err := microvm.ParseBuildPlace(o.on)
	if err != nil {
		return b, &cmdline.UsageError{Err: fmt.Errorf("--build-on: %w", err), Next: "one of host, local, ssh-ng://[user@]builder[:port]"}
	}
	b.On = &place
	return b, nil
}
