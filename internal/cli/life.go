package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/ui"
)

// lifeResult is what start, stop and restart print with --json.
type lifeResult struct {
	Host string `json:"host"`
	hostapi.Life
}

func startCommand(a *console.Console) *cobra.Command {
	return verbCommand(a, hostapi.ActionStart, "Start a VM", `Starts the VM's unit and watches that it stays up. Where it does not, the unit to
blame is named, which may be one of its helper services, and the end of its log
shown. A VM that runs is left alone.`)
}

func stopCommand(a *console.Console) *cobra.Command {
	return verbCommand(a, hostapi.ActionStop, "Shut a VM down", `Has the guest shut down and waits for that, as long as the VM's unit allows (two
minutes on hosts set up by ferry), and until its helper services have ended. A
stopped VM stays stopped: later deployments install and say so.`)
}

func restartCommand(a *console.Console) *cobra.Command {
	return verbCommand(a, hostapi.ActionRestart, "Shut a VM down and start it again", `Restarts the VM's unit, so that the VM boots what is installed: this is how
hardware that "waits for a restart" comes. It watches that the unit stays up. A
stopped VM is started.`)
}

func verbCommand(a *console.Console, verb hostapi.Action, short, long string) *cobra.Command {
	var o option.Place
	var wait time.Duration
	cmd := &cobra.Command{
		Use: string(verb) + " NAME", Short: short, Long: long,
		Example: "  ferry " + string(verb) + " web\n  ferry " + string(verb) + " web --host root@server",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 0)
			if err != nil {
				return err
			}
			return a.OnHostOf(cmd.Context(), n, &o, func(_ *manage.Manager, h *manage.Host) error {
				life, err := h.Live(cmd.Context(), n, verb, wait)
				if err != nil {
					return err
				}
				return showLife(a.UI, h, life)
			})
		},
	}
	o.AddFlags(cmd)
	cmdline.AddWaitFlag(cmd, &wait)
	return cmd
}

func showLife(u *ui.UI, h *manage.Host, life hostapi.Life) error {
	if life.Killed {
		u.Warn("%s did not shut down in time and was killed", life.VM)
	}
	if u.JSON {
		return u.Data(lifeResult{h.String(), life})
	}
	return u.Text(lifeText(h.String(), life))
}

func lifeText(where string, l hostapi.Life) string {
	switch {
	case l.Outcome != hostapi.OutcomeUnchanged:
		return fmt.Sprintf("%s: %s on %s (%.1f s)\n", l.VM, cleaned(l.Outcome), where, l.Seconds)
	case l.Unit.Up():
		return fmt.Sprintf("%s: unchanged on %s: it is already running\n", l.VM, where)
	}
	return fmt.Sprintf("%s: unchanged on %s: it is already stopped\n", l.VM, where)
}

// table lays out rows in columns of their longest cell. The first is the head.
func table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
