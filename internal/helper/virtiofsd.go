package helper

import (
	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/host/virtiofs"
	"ferry/internal/host/vmstate"
	"ferry/internal/microvm"
)

// virtiofsd is what the unit of a VM's virtiofsd starts, on hosts set up by ferry.
func (h *Helper) virtiofsd() *cobra.Command {
	var link, unlink bool
	cmd := &cobra.Command{
		Use:   "virtiofsd NAME",
		Short: "Run a VM's virtiofsd where no link that its user planted can lead it",
		Long: `Becomes bin/virtiofsd-run of the runner that is about to boot, in a place of its
own: instead of the VM's directory it sees /run/microvm-virtiofsd/NAME, which is
root's alone, and of the other directories of VMs the sources of its shares only.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := microvm.ParseName(args[0])
			if err != nil {
				return cmdline.Usage(cmd, err)
			}
			room := virtiofs.Room{StateDir: vmstate.DefaultStateDir, RunDir: virtiofs.RunDir, Name: n}
			switch {
			case link:
				return room.Link()
			case unlink:
				return room.Unlink()
			}
			return room.Run()
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&link, "link", false, "make its sockets visible in the VM's directory instead")
	fs.BoolVar(&unlink, "unlink", false, "remove what --link has made instead")
	cmd.MarkFlagsMutuallyExclusive("link", "unlink")
	return cmd
}
