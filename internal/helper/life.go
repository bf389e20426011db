package helper

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/host"
	"ferry/internal/host/manage"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

// life are the commands behind those of a VM's life. Each prints events, one JSON
// object a line.
func (h *Helper) life() []*cobra.Command {
	return []*cobra.Command{
		h.verb(hostapi.ActionStart, "Start a VM and watch that it stays up"),
		h.verb(hostapi.ActionStop, "Stop a VM and wait until all of it has ended"),
		h.verb(hostapi.ActionRestart, "Restart a VM and watch that it stays up"),
		h.logs(), h.history(), h.generations(), h.diff(), h.remove(),
	}
}

// vmCommand is a hidden command that takes a VM's name and up to more words.
func vmCommand(use, short string, more int, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := cmdline.VM(cmd, args, more); err != nil {
				return err
			}
			return run(cmd, args)
		},
	}
}

func (h *Helper) verb(verb hostapi.Action, short string) *cobra.Command {
	var claim hostapi.Claim
	cmd := vmCommand(string(verb)+" NAME", short, 0, h.managing(
		func(ctx context.Context, machine *manage.Machine, args []string, answers *host.Answers) error {
			life, err := machine.Live(ctx, microvm.Name(args[0]), verb, claim, answers.Log)
			if err == nil {
				answers.Result(life)
			}
			return err
		}))
	addClaimFlags(cmd, &claim)
	return cmd
}

func addClaimFlags(cmd *cobra.Command, claim *hostapi.Claim) {
	cmd.Flags().StringVar(&claim.By, "by", "root", "who asks for it, for the lock and the history")
	cmdline.AddWaitFlag(cmd, &claim.Wait)
}

func (h *Helper) logs() *cobra.Command {
	var last int
	var follow bool
	cmd := vmCommand("logs NAME", "Print a VM's journal", 0, h.answering(
		func(ctx context.Context, args []string, answers *host.Answers) error {
			return systemd.Logs(ctx, microvm.Name(args[0]), last, follow, func(l hostapi.LogLine) { answers.Result(l) })
		}))
	cmd.Flags().IntVarP(&last, "lines", "n", 50, "how many lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "follow new entries")
	return cmd
}

func (h *Helper) history() *cobra.Command {
	var last int
	cmd := vmCommand("history NAME", "Print a VM's history", 0, h.answering(
		func(_ context.Context, args []string, answers *host.Answers) error {
			h, err := vmstate.DefaultLayout().VM(microvm.Name(args[0])).History().Read(last)
			if err == nil {
				answers.Result(h)
			}
			return err
		}))
	cmd.Flags().IntVarP(&last, "lines", "n", 20, "how many entries")
	return cmd
}

func (h *Helper) generations() *cobra.Command {
	return vmCommand("generations NAME", "Print a VM's generations", 0, h.managing(
		func(ctx context.Context, machine *manage.Machine, args []string, answers *host.Answers) error {
			gens, err := machine.Generations(ctx, microvm.Name(args[0]))
			if err == nil {
				answers.Result(gens)
			}
			return err
		}))
}

func (h *Helper) diff() *cobra.Command {
	return vmCommand("diff NAME [GENERATION [GENERATION]]", "Compare two generations of a VM", 2, h.managing(
		func(ctx context.Context, machine *manage.Machine, args []string, answers *host.Answers) error {
			numbers, err := cmdline.Generations(args[1:])
			if err != nil {
				return err
			}
			d, err := machine.Diff(ctx, microvm.Name(args[0]), numbers...)
			if err == nil {
				answers.Result(d)
			}
			return err
		}))
}

func (h *Helper) remove() *cobra.Command {
	var claim hostapi.Claim
	var look, keep bool
	cmd := vmCommand("remove NAME", "Stop a VM and remove all of it, without asking", 0, h.managing(
		func(ctx context.Context, machine *manage.Machine, args []string, answers *host.Answers) error {
			n := microvm.Name(args[0])
			var r *hostapi.Removal
			var err error
			if look {
				r, err = machine.LookRemove(ctx, n)
			} else {
				r, err = machine.Remove(ctx, n, claim, keep, answers.Log)
			}
			if err == nil {
				answers.Result(r)
			}
			return err
		}))
	addClaimFlags(cmd, &claim)
	cmd.Flags().BoolVar(&look, "look", false, "only say what there is")
	cmd.Flags().BoolVar(&keep, "keep-data", false, "leave what is not ferry's in the VM's directory")
	return cmd
}

// autostart is the part of `ferry autostart` that runs on the host.
func (h *Helper) autostart() *cobra.Command {
	cmd := &cobra.Command{
		Use:       "autostart NAME on|off",
		Short:     "Choose whether a VM starts with this machine",
		Hidden:    true,
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{"on", "off"},
	}
	cmd.RunE = h.managing(func(ctx context.Context, machine *manage.Machine, args []string, answers *host.Answers) error {
		n, err := microvm.ParseName(args[0])
		if err != nil {
			return cmdline.Usage(cmd, err)
		}
		if args[1] != "on" && args[1] != "off" {
			return cmdline.Usage(cmd, errors.New("autostart needs `on` or `off`"))
		}
		now, err := machine.Autostart(ctx, n, args[1] == "on")
		if err != nil {
			return err
		}
		answers.Result(now)
		return nil
	})
	return cmd
}
