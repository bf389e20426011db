package updates

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/flakeupdate"
	"ferry/internal/nix"
	"ferry/internal/ui"
)

// flakeUpdateOptions are Nix's options that make sense for fetching inputs.
func flakeUpdateOptions() []string {
	return []string{"option", "netrc-file", "accept-flake-config", "extra-experimental-features", "no-registries", "override-flake"}
}

// FlakeCommand is `ferry flake-update`.
func FlakeCommand(a *console.Console) *cobra.Command {
	var r flakeupdate.Request
	var options option.Nix
	cmd := &cobra.Command{
		Use:   "flake-update [INPUT…]",
		Short: "Update flake.lock on a branch of its own, for CI to build",
		Long: `Updates the flake's inputs (all, or those named) on the branch for updates, and
commits the lock file there: in a work tree of its own, so that yours, its index
and all other branches stay as they are. With --push the branch goes to REMOTE,
where CI can build it before anything is deployed. Nothing is ever forced.

It begins with what is on the branch already, brought up to date with the default
branch (REMOTE's with --push, else HEAD). Where nothing is new, no branch moves.`,
		Example: `  ferry flake-update
  ferry flake-update --push origin
  ferry flake-update --push origin nixpkgs`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Inputs, r.Options = args, options.Words
			return runFlakeUpdate(cmd.Context(), a.UI, r)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&r.Flake, "flake", "f", ".", "the flake's directory, or a bare repository with the flake; with ?dir=SUB for a flake below it")
	fs.StringVar(&r.Branch, "branch", "flake-update", "the branch for updates")
	fs.StringVar(&r.Remote, "push", "", "push the branch to this remote, a name or a URL")
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	options.AddFlags(all)
	for _, name := range flakeUpdateOptions() {
		fs.AddFlag(all.Lookup(name))
	}
	return cmd
}

func runFlakeUpdate(ctx context.Context, u *ui.UI, r flakeupdate.Request) error {
	log := u.Log("nix")
	defer log.Close()
	updater := &flakeupdate.Updater{Nix: &nix.Nix{Log: log}, Report: u}
	result, err := updater.Run(ctx, r)
	if err != nil {
		return err
	}
	if u.JSON {
		return u.Data(result)
	}
	for line := range strings.Lines(result.Text()) {
		if err := u.Text(ui.Clean(line)); err != nil {
			return err
		}
	}
	return nil
}
