package completion

import (
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
)

// nothing else is offered, and in this order: the likeliest first.
const only = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder

// Attach makes root's commands offer names for their arguments and options; what an
// option offers already stays. Deployments yields those that this machine remembers.
// Where nothing is known, files are offered only where a file is wanted.
func Attach(root *cobra.Command, o *Offers, deployments func() []cobra.Completion) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	each(root, func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
		if offer := arguments(deployments)[path]; offer != nil {
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) (words, cobra.ShellCompDirective) {
				return offer(o.line(cmd, args, begun)), only
			}
		}
		for name, offer := range values() {
			if cmd.LocalFlags().Lookup(name) == nil {
				continue
			}
			_ = cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, args []string, begun string) (words, cobra.ShellCompDirective) {
				return offer(o.line(cmd, args, begun))
			}) // fails where the option has one
		}
	})
}

func each(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		each(c, f)
	}
}

func (o *Offers) line(cmd *cobra.Command, args []string, begun string) line {
	ref, err := cmd.Flags().GetString("flake")
	if err != nil || ref == "" {
		ref = "."
	}
	names := func() flake.Outline { return o.Of(cmd.Context(), ref) }
	for _, instead := range []string{"file", "evaluation"} {
		if f := cmd.Flags().Lookup(instead); f != nil && f.Changed {
			names = func() flake.Outline { return flake.Outline{} } // they are not the flake's
		}
	}
	return line{
		args: args, begun: begun,
		names:  sync.OnceValue(names),
		inputs: func() []string { return inputs(ref) },
	}
}

// argument yields what fits behind the line's arguments.
type argument func(l line) words

// arguments are those of the commands, by their words.
func arguments(deployments func() []cobra.Completion) map[string]argument {
	vm := inTurn(line.vms)
	found := map[string]argument{
		"rebuild": deploying([]argument{line.addresses, line.targets}, hostapi.ActionSwitch, hostapi.ActionBoot, hostapi.ActionTest, hostapi.ActionDryActivate),
		"install": deploying([]argument{line.addresses}),
		"switch":  deploying([]argument{line.targets}, hostapi.ActionSwitch, hostapi.ActionTest, hostapi.ActionDryActivate),
		"attach": func(l line) words {
			if len(l.args) > 1 {
				return nil
			}
			return append(inTurn(line.vms)(l), deployments()...)
		},
		"autostart": inTurn(line.vms, func(line) words {
			return words{Word("on", "start the VM with its host"), Word("off", "do not")}
		}),
		"update":                  line.vms,
		"list":                    line.hosts,
		"flake-update":            line.flakeInputs,
		"doctor":                  inTurn(line.hosts, line.targets),
		"host setup":              inTurn(line.hosts),
		"host timer status":       inTurn(line.hosts),
		"host timer flake-update": inTurn(line.hosts),
		"host timer update": func(l line) words {
			if len(l.args) == 0 {
				return l.hosts()
			}
			return l.vms()
		},
	}
	for _, command := range []string{"start", "stop", "restart", "logs", "ssh", "history", "generations", "diff", "rollback", "remove"} {
		found[command] = vm
	}
	return found
}

// inTurn takes one argument of each kind.
func inTurn(kinds ...argument) argument {
	return func(l line) words {
		if len(l.args) >= len(kinds) {
			return nil
		}
		return kinds[len(l.args)](l)
	}
}

// deploying takes a VM, then addresses; an action at any place behind the VM.
func deploying(addresses []argument, takes ...hostapi.Action) argument {
	return func(l line) words {
		if len(l.args) == 0 {
			return l.vms()
		}
		given, acts := 0, false
		for _, arg := range l.args[1:] {
			switch hostapi.Action(arg) {
			case hostapi.ActionSwitch, hostapi.ActionBoot, hostapi.ActionTest, hostapi.ActionDryActivate:
				acts = true
			default:
				given++
			}
		}
		var found words
		if given < len(addresses) {
			found = addresses[given](l)
		}
		if !acts {
			found = append(found, actions(takes...)...)
		}
		return found
	}
}

// value yields what fits behind an option.
type value func(l line) (words, cobra.ShellCompDirective)

// values are those of options, by name, whichever command has them.
func values() map[string]value {
	named := func(of argument) value {
		return func(l line) (words, cobra.ShellCompDirective) { return of(l), only }
	}
	directory := func(line) (words, cobra.ShellCompDirective) { return nil, cobra.ShellCompDirectiveFilterDirs }
	file := func(line) (words, cobra.ShellCompDirective) { return nil, cobra.ShellCompDirectiveDefault }
	return map[string]value{
		"host":   named(func(l line) words { return line{names: l.names, begun: l.begun}.hosts() }),
		"name":   named(func(l line) words { return line{names: l.names}.vms() }),
		"target": named(line.targets),
		"flake":  directory, "inputs-from": directory,
		"netrc": file, "netrc-file": file, "reference-lock-file": file, "from": file,
		"file": file, "evaluation": file, "include": file,
		// The first of two values is an input; the other, a flake, comes with it.
		"override-input": func(l line) (words, cobra.ShellCompDirective) {
			if strings.Contains(l.begun, cmdline.ValueSeparator) {
				return directory(l)
			}
			return line{inputs: l.inputs}.flakeInputs(), only
		},
		"relay": named(func(line) words { return words{"auto", "always", "never"} }),
		"restart": named(func(line) words {
			return words{string(hostapi.RestartAuto), string(hostapi.RestartIfNeeded), string(hostapi.RestartAlways), string(hostapi.RestartNever)}
		}),
		"log-format": named(func(line) words {
			return words{"bar", "bar-with-logs", "internal-json", "multiline", "multiline-with-logs", "raw"}
		}),
	}
}
