package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/ui"
)

func historyCommand(a *console.Console) *cobra.Command {
	var o option.Place
	last := 20
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "Show who deployed, started and stopped a VM, and how it went",
		Long: `Shows the VM's history from its host, oldest first: deployments, rollbacks,
starts and stops that were done with ferry. With --json one object a line.`,
		Example: `  ferry history web
  ferry history web -n 100 --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 0)
			if err != nil {
				return err
			}
			if err := checkLines(last); err != nil {
				return err
			}
			return a.OnHostOf(cmd.Context(), n, &o, func(_ *manage.Manager, h *manage.Host) error {
				history, err := h.History(cmd.Context(), n, last)
				if err != nil {
					return err
				}
				return showHistory(a.UI, h, n, history)
			})
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().IntVarP(&last, "lines", "n", last, "how many of the last entries")
	return cmd
}

// historyLine is one entry as --json prints it.
type historyLine struct {
	VM   microvm.Name `json:"vm"`
	Host string       `json:"host"`
	hostapi.HistoryEntry
}

func showHistory(u *ui.UI, h *manage.Host, n microvm.Name, history hostapi.History) error {
	if history.Broken > 0 {
		u.Warn("%d lines of the history on %s can't be read and are left out", history.Broken, h)
	}
	if u.JSON {
		for _, e := range history.Entries {
			if err := u.Data(historyLine{n, h.String(), e}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(history.Entries) == 0 {
		u.Step(string(n), "%s has no history of it", h)
		return nil
	}
	return u.Text(historyText(history.Entries))
}

func historyText(entries []hostapi.HistoryEntry) string {
	rows := [][]string{{"WHEN", "WHO", "ACTION", "OUTCOME", "SYSTEM OR ERROR"}}
	for _, e := range entries {
		action, what := string(e.Action), microvm.SystemBaseName(string(e.Runner))
		if e.RollbackTo > 0 {
			action = "rollback to " + strconv.Itoa(e.RollbackTo)
		}
		if e.Revision != "" {
			what += fmt.Sprintf(" (%.12s)", e.Revision)
		}
		if e.Error != "" {
			what = e.Reason()
		}
		if e.Killed != "" {
			what += "; " + e.Killed
		}
		rows = append(rows, []string{
			e.Started.Local().Format(time.DateTime), cleaned(e.By), cleaned(action), cleaned(e.Outcome), cleaned(what),
		})
	}
	return table(rows)
}
