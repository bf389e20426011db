package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/ui"
)

func autostartCommand(a *console.Console) *cobra.Command {
	var o option.Place
	cmd := &cobra.Command{
		Use:   "autostart NAME on|off",
		Short: "Choose whether a VM starts with its host",
		Long: `Sets whether a VM starts with its host, from the next boot on. What runs now is not
touched, and the host needs no rebuild. Where the host's own configuration
makes its units (NixOS), set microvm.autostart there instead.`,
		Example: `  ferry autostart web on
  ferry autostart web off --host root@server`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 1)
			if err != nil {
				return err
			}
			if len(args) < 2 || args[1] != "on" && args[1] != "off" {
				return &cmdline.UsageError{Err: errors.New("autostart needs `on` or `off`"), Next: "usage: " + cmd.UseLine()}
			}
			return a.OnHostOf(cmd.Context(), n, &o, func(_ *manage.Manager, h *manage.Host) error {
				now, err := h.Autostart(cmd.Context(), n, args[1] == "on")
				if err != nil {
					return err
				}
				return showAutostart(a.UI, h.String(), now)
			})
		},
	}
	o.AddFlags(cmd)
	return cmd
}

func showAutostart(u *ui.UI, where string, now hostapi.Autostarted) error {
	if u.JSON {
		return u.Data(struct {
			Host string `json:"host"`
			hostapi.Autostarted
		}{where, now})
	}
	what := "does not start"
	if now.On {
		what = "starts"
	}
	already := ""
	if !now.Changed {
		already = ", as before"
	}
	return u.Text(fmt.Sprintf("%s: %s with %s%s\n", now.VM, what, where, already))
}
