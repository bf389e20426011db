package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/updates"
	"ferry/internal/cmdline"
	"ferry/internal/helper"
	"ferry/internal/helperbin"
	"ferry/internal/host/setup"
)

// hostCommand has what sets hosts up, and the helper's commands: the host may be
// this machine, and hosts that an older ferry has set up start them in ferry.
func hostCommand(a *console.Console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Set a host up, and what ferry runs on one (as root)",
		Long: "`ferry host setup HOST` makes a machine a host. The other commands run on a host, as\n" +
			"root, where ferry starts them itself; by hand, `ferry host probe NAME` tells what\nferry sees of a VM.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return &cmdline.UsageError{Err: errors.New("host needs a command"), Next: "ferry host --help lists them"}
		},
	}
	cmd.AddCommand(hostSetup(a), updates.TimerCommand(a))
	h := &helper.Helper{In: a.In, Out: a.Out, Err: a.Err, UI: a.UI, Programs: setup.Programs{Helper: helperbin.Here, Ferry: setup.Running}}
	h.AddTo(cmd)
	cmdline.AddVersion(cmd)
	return cmd
}
