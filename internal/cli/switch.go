package cli

import (
	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

func switchCommand(a *console.Console) *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "switch NAME [TARGET] [switch|test|dry-activate]",
		Short: "Switch a running VM to what is installed",
		Long: `Switches the system running at TARGET to the one of nixosConfigurations.NAME,
which must be installed on its host (ferry install) and be visible through the
shared /nix/store. The host is taken from --host or the flake's ` + "`ferry`" + ` output;
without one, nothing keeps the running system from the host's garbage collection.` + option.ConfirmHelp,
		Example: `  ferry switch web
  ferry switch web root@web.example.com switch --host root@server`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePositionals(cmd, args, 1, []hostapi.Action{hostapi.ActionSwitch, hostapi.ActionTest, hostapi.ActionDryActivate})
			if err != nil {
				return err
			}
			req, err := o.request(p)
			if err != nil {
				return err
			}
			if o.host != "" {
				h, err := microvm.ParseAddress(o.host)
				if err != nil {
					return &cmdline.UsageError{Err: err, Next: "--host takes the address of the VM's host"}
				}
				req.Host = &h
			}
			if len(p.addresses) > 0 {
				req.Target = &p.addresses[0]
			}
			return runDeployment(cmd.Context(), a, req, (*deploy.Deployer).Switch)
		},
	}
	o.addFlags(cmd)
	o.addGuestFlags(cmd)
	cmd.Flags().StringVar(&o.host, "host", "", "the VM's host")
	return cmd
}
