package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/ui"
)

// setupOptions are those of `ferry host setup`.
type setupOptions struct {
	place          option.Place
	remove, dryRun bool
}

func hostSetup(a *console.Console) *cobra.Command {
	var o setupOptions
	cmd := &cobra.Command{
		Use:   "setup [HOST]",
		Short: "Make a Linux machine with systemd and Nix a host of MicroVMs",
		Long: `Makes HOST (an address, a name of ferry.hosts in the flake, or ` + "`local`" + `; default:
local) a host of MicroVMs: the user microvm and the group kvm, /var/lib/microvms,
the units that run VMs, microvms.target, ferry's helper in /usr/local/bin, which
is microvm.nix's command under the name ` + "`microvm`" + `, and ferry itself where yours
can run on HOST: timers and ` + "`ferry … local`" + ` need it there.

Run again it does what is missing, and brings a newer ferry's units; no VM is
restarted. A file that you changed stays as it is. On NixOS, and where other
units run MicroVMs, it changes nothing; on NixOS it shows what to configure instead.

--remove undoes exactly what setup did, once no VM is left.`,
		Example: `  ferry host setup root@server --dry-run    # every file, as a diff
  ferry host setup root@server
  ferry host setup root@server --remove`,
		RunE: func(cmd *cobra.Command, args []string) error {
			word := "local"
			switch {
			case len(args) > 1:
				return &cmdline.UsageError{Err: errors.New("setup takes one host"), Next: "usage: " + cmd.UseLine()}
			case len(args) == 1:
				word = args[0]
			}
			return runSetup(cmd.Context(), a, &o, word)
		},
	}
	o.place.AddFlakeFlags(cmd)
	cmd.Flags().BoolVar(&o.remove, "remove", false, "undo what setup did")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would be done, every file with a diff, and change nothing")
	return cmd
}

func runSetup(ctx context.Context, a *console.Console, o *setupOptions, word string) error {
	return a.OnPlace(ctx, &o.place, word, func(h *manage.Host) error {
		r, err := h.Setup(ctx, o.remove, o.dryRun)
		if err != nil {
			return err
		}
		return showSetup(a.UI, h.String(), r, o.remove)
	})
}

// setupResult is what --json prints.
type setupResult struct {
	Host string `json:"host"`
	*setup.Report
}

func showSetup(u *ui.UI, where string, r *setup.Report, remove bool) error {
	for _, w := range r.Warnings {
		u.Warn("%s: %s", where, w)
	}
	var err error
	if u.JSON {
		err = u.Data(setupResult{where, r})
	} else {
		err = u.Text(setupText(where, r, remove))
	}
	if r.Outcome == setup.OutcomeNixOS {
		return errors.Join(hostapi.Refuse(where+" runs NixOS, whose own configuration makes it a host; nothing was changed",
			"put the above into its configuration and rebuild it"), err)
	}
	return err
}

// setupText is a report for people. What came from the host is cleaned.
func setupText(where string, r *setup.Report, remove bool) string {
	var b strings.Builder
	switch r.Outcome {
	case setup.OutcomeNixOS:
		return ui.Clean(r.Advice)
	case setup.OutcomeOther:
		if r.Advice == "" {
			return where + ": nothing was changed; ferry deploys to this host as it is, with the units that it has\n" +
				"  (to have ferry's units instead, stop the VMs, move those units away and run `ferry host setup` again)\n"
		}
		fmt.Fprintf(&b, "%s: nothing was changed; configure a NixOS host like this:\n\n%s", where, ui.Clean(r.Advice))
		return b.String()
	case setup.OutcomeUnchanged:
		word := "set up already"
		if remove {
			word = "not set up by ferry"
		}
		fmt.Fprintf(&b, "%s: nothing to do: %s\n", where, word)
	case setup.OutcomePlanned:
		fmt.Fprintf(&b, "%s: this would be done\n", where)
	case setup.OutcomeRemoved:
		fmt.Fprintf(&b, "%s: setup undone\n", where)
	default:
		fmt.Fprintf(&b, "%s: set up as a host of MicroVMs\n", where)
	}
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "  %s %s %s", console.ChangeVerb(c.Verb, r.Outcome), c.Kind, ui.Clean(c.Name))
		if c.Note != "" {
			fmt.Fprintf(&b, " (%s)", ui.Clean(c.Note))
		}
		b.WriteString("\n")
		if r.Outcome == setup.OutcomePlanned {
			console.WriteDiff(&b, c)
		}
	}
	return b.String()
}
