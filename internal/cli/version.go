package cli

import (
	"ferry/internal/cmdline"

	"github.com/spf13/cobra"
)

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version, the commit and its date (also: --version)",
		Example: "  ferry version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := cmdline.ThisBuild()
			if a.ui.JSON {
				return a.ui.Data(b)
			}
			return a.ui.Text("ferry version " + b.String() + "\n")
		},
	}
}
