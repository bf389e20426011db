package helper

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/host"
	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
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
		r, err := h.setUp(ctx, hostapi.SetupRequest{Remove: remove, DryRun: dryRun})
		if err == nil {
			answers.Result(r)
		}
		return err
	})
	return cmd
}

func (h *Helper) setUp(ctx context.Context, req hostapi.SetupRequest) (any, error) {
	s, err := setup.New(ctx, h.Programs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	do := s.Apply
	if req.Remove {
		do = s.Remove
	}
	return do(ctx, req.DryRun)
}

// timerHere is the part of `ferry host timer` that runs on the host: with a request
// it is carried out, without one the timers are looked at.
func (h *Helper) timerHere() *cobra.Command {
	cmd := &cobra.Command{Use: "timer-here [REQUEST]", Short: "Set a timer of this machine", Hidden: true, Args: cobra.MaximumNArgs(1)}
	cmd.RunE = h.answering(func(ctx context.Context, args []string, answers *host.Answers) error {
		r, err := setTimers(ctx, json.RawMessage(strings.Join(args, "")))
		if err == nil {
			answers.Result(r)
		}
		return err
	})
	return cmd
}

// setTimers sets a timer of this machine, or looks at all where set is empty.
func setTimers(ctx context.Context, set json.RawMessage) (any, error) {
	m, err := timers.Here(ctx)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if len(set) == 0 {
		return m.Status(ctx)
	}
	req, err := timers.DecodeRequest(set)
	if err != nil {
		return nil, err
	}
	return m.Do(ctx, req)
}
