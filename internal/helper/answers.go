package helper

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"ferry/internal/host"
	"ferry/internal/host/manage"
	"ferry/internal/host/vmstate"
)

// answering makes the RunE of a command that people start: f's answers go to stdout
// as events, one a line, and its error as the last of them. The operator's side asks
// for the same in a session.
func (h *Helper) answering(f func(ctx context.Context, args []string, answers *host.Answers) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		// A connection that breaks must not end what has to be finished.
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
		answers := host.NewAnswers(h.Out)
		err := f(cmd.Context(), args, answers)
		if err != nil {
			answers.Fail(err)
		}
		return err
	}
}

// managing is answering for commands of a VM's life on this machine.
func (h *Helper) managing(f func(ctx context.Context, machine *manage.Machine, args []string, answers *host.Answers) error) func(*cobra.Command, []string) error {
	return h.answering(func(ctx context.Context, args []string, answers *host.Answers) error {
		machine, err := host.OpenMachine(ctx, vmstate.DefaultLayout(), h.Err)
		if err != nil {
			return err
		}
		defer machine.Close()
		return f(ctx, machine, args, answers)
	})
}
