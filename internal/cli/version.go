package cli

import (
	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cmdline"
)

func versionCommand(a *console.Console) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version, the commit and its date (also: --version)",
		Example: "  ferry version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := cmdline.ThisBuild()
			if a.UI.JSON {
				return a.UI.Data(b)
			}
			return a.UI.Text("ferry version " + b.String() + "\n")
		},
	}
}
