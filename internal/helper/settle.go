package helper

import (
	"fmt"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/host"
	"ferry/internal/host/vmstate"
	"ferry/internal/microvm"
)

// guard runs in a transient unit for as long as a deployment changes a VM.
func (h *Helper) guard() *cobra.Command {
	return vmCommand("guard NAME ID", "Settle a deployment if it is left unfinished", 1, func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 {
			return &cmdline.UsageError{Err: fmt.Errorf("guard needs a VM and a deployment"), Next: "usage: " + cmd.UseLine()}
		}
		return host.Guard(cmd.Context(), vmstate.DefaultLayout(), microvm.Name(args[0]), args[1], h.Err)
	})
}

func (h *Helper) settle() *cobra.Command {
	var boot bool
	cmd := &cobra.Command{
		Use:   "settle",
		Short: "Undo or finish what interrupted deployments have left, on this host",
		Long: `Undoes or finishes, for every VM of this machine, what a deployment has left that
was interrupted: its process was killed, or the machine went down. Deployments
that are under way, or whose confirmation is still awaited, are left alone. One
whose runner runs since somebody else has started it, or the machine, is kept where
its checks pass; else this fails, and the next deployment decides (--settle). A unit
on hosts set up by ferry does this at every start of the machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			srv, err := host.NewServer(cmd.Context(), vmstate.DefaultLayout(), h.Err)
			if err != nil {
				return err
			}
			defer srv.Close()
			return srv.Settle(cmd.Context(), boot, func(n microvm.Name, line string) { fmt.Fprintf(h.Err, "%s: %s\n", n, line) })
		},
	}
	cmd.Flags().BoolVar(&boot, "boot", false, "the machine is starting: move links, leave units alone")
	return cmd
}
