package helper

import (
	"fmt"

	"github.com/spf13/cobra"

	"ferry/internal/host/setup"
)

// protect is what units of ferry's NixOS module start.
func (h *Helper) protect() *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use:   "protect",
		Short: "Make the directory of this host's VMs root's, on NixOS (ferry.host.protectStateDir)",
		Long: `Makes root's, once, the directory of the VMs, each VM's directory in it, and the
links and the flake file there, as they are. The units of VMs must know of that:
ferry's NixOS module (ferry.host.protectStateDir) has both. What others put into a
directory that is root's already is left alone, and not used.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, err := setup.NewProtector(func(line string) { fmt.Fprintln(h.Err, line) })
			if err != nil {
				return err
			}
			if undo {
				return p.Unprotect()
			}
			return p.Protect()
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "give back what was taken over instead")
	return cmd
}
