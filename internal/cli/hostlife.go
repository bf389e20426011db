package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"ferry/internal/host"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

// hostLife are the commands on the host behind those of a VM's life. Each
// prints events, one JSON object a line.
func (a *app) hostLife() []*cobra.Command {
	return []*cobra.Command{
		a.hostVerb(hostapi.ActionStart, "Start a VM and watch that it stays up"),
		a.hostVerb(hostapi.ActionStop, "Stop a VM and wait until all of it has ended"),
		a.hostVerb(hostapi.ActionRestart, "Restart a VM and watch that it stays up"),
		a.hostLogs(), a.hostHistory(), a.hostGenerations(), a.hostDiff(), a.hostRemove(), a.hostTarget(),
	}
}

// helperCommand is a hidden command that takes a VM's name and up to more words.
func helperCommand(use, short string, more int, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := vmArgument(cmd, args, more); err != nil {
				return err
			}
			return run(cmd, args)
		},
	}
}

func (a *app) hostVerb(verb hostapi.Action, short string) *cobra.Command {
	var claim hostapi.Claim
	cmd := helperCommand(string(verb)+" NAME", short, 0, a.serving(
		func(ctx context.Context, srv *host.Server, args []string, answers *host.Answers) error {
			life, err := srv.Live(ctx, microvm.Name(args[0]), verb, claim, answers.Log)
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
	addWaitFlag(cmd, &claim.Wait)
}

func (a *app) hostLogs() *cobra.Command {
	var last int
	var follow bool
	cmd := helperCommand("logs NAME", "Print a VM's journal", 0, a.answering(
		func(ctx context.Context, args []string, answers *host.Answers) error {
			return systemd.Logs(ctx, microvm.Name(args[0]), last, follow, func(l hostapi.LogLine) { answers.Result(l) })
		}))
	cmd.Flags().IntVarP(&last, "lines", "n", 50, "how many lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "follow new entries")
	return cmd
}

func (a *app) hostHistory() *cobra.Command {
	var last int
	cmd := helperCommand("history NAME", "Print a VM's history", 0, a.answering(
		func(_ context.Context, args []string, answers *host.Answers) error {
			h, err := host.DefaultLayout().History(microvm.Name(args[0]), last)
			if err == nil {
				answers.Result(h)
			}
			return err
		}))
	cmd.Flags().IntVarP(&last, "lines", "n", 20, "how many entries")
	return cmd
}

func (a *app) hostTarget() *cobra.Command {
	return helperCommand("target NAME", "Print the recorded address of the system inside a VM", 0, a.answering(
		func(_ context.Context, args []string, answers *host.Answers) error {
			target, _ := host.DefaultLayout().RecordedTarget(microvm.Name(args[0]))
			answers.Result(target)
			return nil
		}))
}

func (a *app) hostGenerations() *cobra.Command {
	return helperCommand("generations NAME", "Print a VM's generations", 0, a.serving(
		func(ctx context.Context, srv *host.Server, args []string, answers *host.Answers) error {
			gens, err := srv.Generations(ctx, microvm.Name(args[0]))
			if err == nil {
				answers.Result(gens)
			}
			return err
		}))
}

func (a *app) hostDiff() *cobra.Command {
	return helperCommand("diff NAME [GENERATION [GENERATION]]", "Compare two generations of a VM", 2, a.serving(
		func(ctx context.Context, srv *host.Server, args []string, answers *host.Answers) error {
			numbers, err := generationNumbers(args[1:])
			if err != nil {
				return err
			}
			d, err := srv.Diff(ctx, microvm.Name(args[0]), numbers...)
			if err == nil {
				answers.Result(d)
			}
			return err
		}))
}

func (a *app) hostRemove() *cobra.Command {
	var claim hostapi.Claim
	var look, keep bool
	cmd := helperCommand("remove NAME", "Stop a VM and remove all of it, without asking", 0, a.serving(
		func(ctx context.Context, srv *host.Server, args []string, answers *host.Answers) error {
			n := microvm.Name(args[0])
			var r *hostapi.Removal
			var err error
			if look {
				r, err = srv.LookRemove(ctx, n)
			} else {
				r, err = srv.Remove(ctx, n, claim, keep, answers.Log)
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

func generationNumbers(words []string) ([]int, error) {
	var numbers []int
	for _, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil || n < 1 {
			return nil, &usageError{err: fmt.Errorf("%.40q is not a generation", w), hint: "ferry generations NAME lists their numbers"}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

var errCount = errors.New("-n takes a number from 1 to 100000")

// lineCount checks -n.
func lineCount(n int) error {
	if n < 1 || n > 100_000 {
		return &usageError{err: errCount, hint: "for example -n 100"}
	}
	return nil
}
