package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

func logsCommand(a *console.Console) *cobra.Command {
	var o option.Place
	var follow bool
	last := 50
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what a VM and its helper services have logged on their host",
		Long: `Shows the journal of the VM's unit, which has the VM's console, and of its helper
services. The system inside keeps a journal of its own: ferry ssh NAME journalctl.`,
		Example: `  ferry logs web -n 200
  ferry logs web --follow
  ferry logs web --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 0)
			if err != nil {
				return err
			}
			if err := checkLines(last); err != nil {
				return err
			}
			return a.OnHostOf(cmd.Context(), n, &o, func(_ *manage.Manager, h *manage.Host) error {
				return logs(cmd.Context(), a.UI, h, n, last, follow)
			})
		},
	}
	o.AddHostFlag(cmd)
	o.AddFlakeFlagsAs(cmd, "") // -f is the logs' own here, as everybody expects
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "follow new entries until Ctrl-C")
	cmd.Flags().IntVarP(&last, "lines", "n", last, "how many of the last lines")
	return cmd
}

func logs(ctx context.Context, u *ui.UI, h *manage.Host, n microvm.Name, last int, follow bool) error {
	any := false
	err := h.Logs(ctx, n, last, follow, func(l hostapi.LogLine) error {
		any = true
		if u.JSON {
			return u.Data(l)
		}
		return u.Text(logText(n, l))
	})
	if err == nil && !any {
		u.Step(string(n), "nothing was logged on %s", h)
	}
	return err
}

// logText is an entry for people, in their time zone; the unit is named where
// it is a helper's.
func logText(n microvm.Name, l hostapi.LogLine) string {
	who := ""
	if l.Unit != n.Unit() {
		helper, _, _ := strings.Cut(l.Unit, "@")
		who = cleaned(strings.TrimPrefix(helper, "microvm-")) + ": "
	}
	return fmt.Sprintf("%s %s%s\n", l.Time.Local().Format(time.DateTime), who, cleaned(l.Line))
}

// cleaned is text from a host, harmless for a terminal.
func cleaned(s string) string { return ui.Clean(s) }

// checkLines checks -n.
func checkLines(n int) error {
	if n < 1 || n > 100_000 {
		return &cmdline.UsageError{Err: errors.New("-n takes a number from 1 to 100000"), Next: "for example -n 100"}
	}
	return nil
}
