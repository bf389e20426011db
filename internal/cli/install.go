package cli

import (
	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/deploy"
	"ferry/internal/hostapi"
)

func installCommand(a *console.Console) *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "install NAME [HOST]",
		Short: "Build and install a VM without touching what runs",
		Long: `Evaluates nixosConfigurations.NAME here, builds its runner on HOST and makes it
the VM's current one. What runs is not touched; a new VM is not started.
Afterwards activate it with ferry switch or ferry rebuild, or by a restart of
microvm@NAME.service.` + option.BuildHelp,
		Example: `  ferry install web root@server
  ferry switch web root@web.example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePositionals(cmd, args, 1, nil)
			if err != nil {
				return err
			}
			p.action = hostapi.ActionBoot
			req, err := o.request(p)
			if err != nil {
				return err
			}
			if len(p.addresses) > 0 {
				req.Host = &p.addresses[0]
			}
			return runDeployment(cmd.Context(), a, req, (*deploy.Deployer).Rebuild)
		},
	}
	o.addFlags(cmd)
	o.addInstallFlags(cmd)
	cmd.Flags().BoolVar(&o.hostSudo, "use-remote-sudo", false, "the same as --host-sudo")
	return cmd
}
