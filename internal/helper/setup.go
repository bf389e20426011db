package helper

import (
	"context"

	"github.com/spf13/cobra"

	"ferry/internal/host"
	"ferry/internal/host/setup"
	"ferry/internal/timers"
)

// setupHere is the part of `ferry host setup` that runs on the host.
func (h *Helper) setupHere() *cobra.Command {
	var remove, dryRun bool
	cmd := &cobra.Command{
		Use:    "setup-here",
		Short:  "Set this machine up; ferry host setup starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "undo what setup did")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing")
	cmd.RunE = h.answering(func(ctx context.Context, _ []string, answers *host.Answers) error {
		s, err := setup.New(ctx, h.Programs)
		if err != nil {
			return err
		}
		defer s.Close()
		do := s.Apply
		if remove {
			do = s.Remove
		}
		r, err := do(ctx, dryRun)
		if err != nil {
			return err
		}
		answers.Result(r)
		return nil
	})
	return cmd
}

// timerHere is the part of `ferry host timer` that runs on the host: with a request
// it is carried out, without one the timers are looked at.
func (h *Helper) timerHere() *cobra.Command {
	cmd := &cobra.Command{Use: "timer-here [REQUEST]", Short: "Set a timer of this machine", Hidden: true, Args: cobra.MaximumNArgs(1)}
	cmd.RunE = h.answering(func(ctx context.Context, args []string, answers *host.Answers) error {
		m, err := timers.Here(ctx)
		if err != nil {
			return err
		}
		defer m.Close()
		if len(args) == 0 {
			all, err := m.Status(ctx)
			if err == nil {
				answers.Result(all)
			}
			return err
		}
		req, err := timers.DecodeRequest([]byte(args[0]))
		if err != nil {
			return err
		}
		r, err := m.Do(ctx, req)
		if err == nil {
			answers.Result(r)
		}
		return err
	})
	return cmd
}
