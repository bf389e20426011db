package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/ui"
)

func generationsCommand(a *console.Console) *cobra.Command {
	var o option.Place
	cmd := &cobra.Command{
		Use:   "generations NAME",
		Short: "List what was installed for a VM, to roll back to",
		Long: `Lists the VM's generations, oldest first. They are an ordinary Nix profile on the
host: nix-collect-garbage -d there deletes all but the current one.`,
		Example: `  ferry generations web
  ferry generations web --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 0)
			if err != nil {
				return err
			}
			return a.OnHostOf(cmd.Context(), n, &o, func(_ *manage.Manager, h *manage.Host) error {
				gens, err := h.Generations(cmd.Context(), n)
				if err != nil {
					return err
				}
				return showGenerations(a.UI, h, n, gens)
			})
		},
	}
	o.AddFlags(cmd)
	return cmd
}

// generationLine is one generation as --json prints it.
type generationLine struct {
	VM   microvm.Name `json:"vm"`
	Host string       `json:"host"`
	hostapi.Generation
}

func showGenerations(u *ui.UI, h *manage.Host, n microvm.Name, gens []hostapi.Generation) error {
	rows := [][]string{{"GENERATION", "INSTALLED", "SYSTEM", ""}}
	for _, g := range gens {
		if u.JSON {
			if err := u.Data(generationLine{n, h.String(), g}); err != nil {
				return err
			}
		}
		rows = append(rows, []string{
			strconv.Itoa(g.Number), g.Made.Local().Format(time.DateTime), generationName(g), generationMarks(g),
		})
	}
	switch {
	case u.JSON:
		return nil
	case len(gens) == 0:
		u.Step(string(n), "it has no generations: it was not installed by ferry")
		return nil
	}
	return u.Text(table(rows))
}

func generationName(g hostapi.Generation) string {
	p := g.System
	if p == "" {
		p = g.Runner
	}
	return microvm.SystemBaseName(string(p))
}

func generationMarks(g hostapi.Generation) string {
	var marks []string
	if g.Current {
		marks = append(marks, "current")
	}
	if g.Booted {
		marks = append(marks, "booted")
	}
	if g.Running {
		marks = append(marks, "running")
	}
	return strings.Join(marks, ", ")
}
