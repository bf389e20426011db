package helper

import (
	"context"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/host"
)

// aliveEvery is how often a command of the helper shows that it lives. The
// operator's side waits for several times that.
const aliveEvery = 15 * time.Second

// answering makes the RunE of a command: f's answers go to stdout as
// events, one a line, and its error as the last of them. With --attached, ctx
// ends with the input: then nobody listens any more; until then there are signs of
// life between the answers.
func (h *Helper) answering(f func(ctx context.Context, args []string, answers *host.Answers) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		// A connection that breaks must not end what has to be finished.
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		attached, _ := cmd.Flags().GetBool("attached")
		if attached {
			go func() {
				_, _ = io.Copy(io.Discard, h.In)
				cancel()
			}()
		}
		answers := host.NewAnswers(h.Out)
		if attached {
			defer answers.Live(aliveEvery)()
		}
		err := f(ctx, args, answers)
		if err != nil {
			answers.Fail(err)
		}
		return err
	}
}

// serving is answering for commands that need a host.Server.
func (h *Helper) serving(f func(ctx context.Context, srv *host.Server, args []string, answers *host.Answers) error) func(*cobra.Command, []string) error {
	return h.answering(func(ctx context.Context, args []string, answers *host.Answers) error {
		srv, err := host.NewServer(ctx, host.DefaultLayout(), h.Err)
		if err != nil {
			return err
		}
		defer srv.Close()
		return f(ctx, srv, args, answers)
	})
}
