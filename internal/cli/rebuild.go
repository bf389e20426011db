package cli

import (
	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/deploy"
)

func rebuildCommand(a *console.Console) *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "rebuild NAME [HOST [TARGET]] [switch|boot|test|dry-activate]",
		Short: "Build, install and activate a VM",
		Long: `Evaluates nixosConfigurations.NAME here, builds its runner on HOST, installs it
there and brings what runs to it: a live switch over SSH inside TARGET, or a
restart of the VM's unit where it can't be switched live. Creating and updating
are the same command. A deployment that changes nothing restarts nothing.

Where TARGET is known, the guest is asked what it runs while the host is asked, and
without a password or another question. A guest that runs something else than the
host believes is switched. A target that is another machine's, or whose name or
key is wrong, is refused before anything is changed.

HOST and TARGET are [user@]host, an alias of ssh_config, ssh://[user@]host[:port];
HOST may be ` + "`local`" + `. What is not named comes from the flake's ` + "`ferry`" + ` output.

Actions: switch (default) activates and installs; boot installs only; test
activates only, and the next boot brings the installed system back; dry-activate
builds and shows what the switch would do.` + option.BuildHelp + option.ConfirmHelp,
		Example: `  ferry rebuild web
  ferry rebuild web root@server root@web.example.com switch
  ferry rebuild web --override-input nixpkgs ~/src/nixpkgs --dry-run
  ferry rebuild web --restart=if-needed
  ferry rebuild web --build-on ssh-ng://root@builder
  ferry rebuild web --check-http http://10.0.0.5/healthz --confirm-timeout 2m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePositionals(cmd, args, 2, actions())
			if err != nil {
				return err
			}
			req, err := o.request(p)
			if err != nil {
				return err
			}
			if len(p.addresses) > 0 {
				req.Host = &p.addresses[0]
			}
			if len(p.addresses) > 1 {
				req.Target = &p.addresses[1]
			}
			return runDeployment(cmd.Context(), a, req, (*deploy.Deployer).Rebuild)
		},
	}
	o.addFlags(cmd)
	o.addGuestFlags(cmd)
	o.addInstallFlags(cmd)
	o.addRestartFlag(cmd)
	option.AddNoGuestFlag(cmd.Flags(), &o.noGuest)
	return cmd
}
