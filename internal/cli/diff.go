package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
)

func diffCommand(a *console.Console) *cobra.Command {
	var o option.Place
	cmd := &cobra.Command{
		Use:   "diff NAME [GENERATION [GENERATION]]",
		Short: "Show what differs between two generations of a VM",
		Long: `Compares two generations on their host: the packages of the systems inside, and
the hardware. With one number, that generation with the current one; with none,
the one before the current with the current, which is what the last deployment
changed.`,
		Example: `  ferry diff web
  ferry diff web 3
  ferry diff web 3 5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 2)
			if err != nil {
				return err
			}
			numbers, err := cmdline.Generations(args[1:])
			if err != nil {
				return err
			}
			return a.OnHostOf(cmd.Context(), n, &o, func(_ *manage.Manager, h *manage.Host) error {
				d, err := h.Diff(cmd.Context(), n, numbers...)
				if err != nil {
					return err
				}
				if a.UI.JSON {
					return a.UI.Data(diffResult{h.String(), d})
				}
				return a.UI.Text(diffText(d))
			})
		},
	}
	o.AddFlags(cmd)
	return cmd
}

// diffResult is what --json prints.
type diffResult struct {
	Host string `json:"host"`
	hostapi.Diff
}

func diffText(d hostapi.Diff) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: generation %d → %d\n", d.VM, d.From.Number, d.To.Number)
	for _, line := range append(d.Changes, d.Hardware...) {
		fmt.Fprintf(&b, "  %s\n", cleaned(line))
	}
	switch {
	case d.Same:
		fmt.Fprintln(&b, "  nothing differs")
	case d.ConfigurationOnly:
		fmt.Fprintln(&b, "  configuration only: no package changed")
	}
	return b.String()
}
