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
	"ferry/internal/cli/terminal"
	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvm"
)

// removeOptions are those of `ferry remove`.
type removeOptions struct {
	keep, yes bool
	wait      time.Duration
}

func removeCommand(a *console.Console) *cobra.Command {
	var o option.Place
	var how removeOptions
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Stop a VM and remove all of it from its host",
		Long: `Shuts the VM down and removes its directory, garbage collector roots, generations
and history. Where its directory holds volumes or other files of the VM's own,
ferry lists them and asks on the terminal before it deletes them; without a
terminal it needs --yes or --keep-data. A VM that the host's own configuration
declares is refused. The store paths go with the host's next garbage collection.`,
		Example: `  ferry remove web
  ferry remove web --keep-data     # volumes stay in the VM's directory
  ferry remove web --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 0)
			if err != nil {
				return err
			}
			if how.keep && how.yes {
				return &cmdline.UsageError{Err: errors.New("--keep-data and --yes are one or the other"), Next: "--yes deletes the data without asking"}
			}
			return a.OnHostOf(cmd.Context(), n, &o, func(_ *manage.Manager, h *manage.Host) error {
				return remove(cmd.Context(), a, h, n, how)
			})
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().BoolVar(&how.keep, "keep-data", false, "leave volumes and other files in the VM's directory")
	cmd.Flags().BoolVar(&how.yes, "yes", false, "delete volumes and other files without asking")
	cmdline.AddWaitFlag(cmd, &how.wait)
	return cmd
}

// removeResult is what --json prints.
type removeResult struct {
	Host string `json:"host"`
	hostapi.Removal
}

func remove(ctx context.Context, a *console.Console, h *manage.Host, n microvm.Name, how removeOptions) error {
	if !how.keep && !how.yes {
		there, err := h.LookRemove(ctx, n)
		if err != nil {
			return err
		}
		if len(there.Data) > 0 {
			if err := mayDelete(ctx, h, there); err != nil {
				return err
			}
		}
	}
	r, err := h.Remove(ctx, n, how.keep, how.wait)
	if err != nil {
		return err
	}
	if a.UI.JSON {
		return a.UI.Data(removeResult{h.String(), r})
	}
	text := fmt.Sprintf("%s: removed from %s\n", n, h)
	if r.Kept && len(r.Data) > 0 {
		text += fmt.Sprintf("  its data is still in %s\n", cleaned(r.Directory))
	}
	return a.UI.Text(text)
}

const maxListed = 20 // files shown before the question

// mayDelete asks whether a VM's data may be deleted.
func mayDelete(ctx context.Context, h *manage.Host, r hostapi.Removal) error {
	var list strings.Builder
	for i, f := range r.Data {
		if i == maxListed {
			fmt.Fprintf(&list, "  … and %d more\n", len(r.Data)-i)
			break
		}
		name := cleaned(f.Name)
		if f.Directory {
			name += "/"
		}
		fmt.Fprintf(&list, "  %8s  %s\n", size(f.Bytes), name)
	}
	question := fmt.Sprintf("%s on %s has data of its own in %s:\n%sDelete it permanently? Type the VM's name to do so: ",
		r.VM, h, cleaned(r.Directory), list.String())
	answer, err := terminal.Ask(ctx, question)
	switch {
	case errors.Is(err, terminal.ErrNone):
		return &cmdline.UsageError{
			Err:  fmt.Errorf("%s has %d files or directories of its own in %s, and there is no terminal to ask at; nothing was changed", r.VM, len(r.Data), cleaned(r.Directory)),
			Next: "--yes deletes them, --keep-data leaves them there",
		}
	case err != nil:
		return err
	case answer != string(r.VM):
		return hostapi.Refuse(string(r.VM)+" was not removed: nothing was changed", "--keep-data removes the VM and leaves its data")
	}
	return nil
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
