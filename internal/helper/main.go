package helper

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/host/setup"
	"ferry/internal/ui"
)

// Main runs the host's program with the process's arguments and streams and
// returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	run := Run
	if IsMicrovm(args) {
		run = RunMicrovm
	}
	return run(ctx, args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run is Main with the streams given, for tests.
func Run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	h := &Helper{In: in, Out: out, Err: errw, UI: ui.New(out, errw, false), Programs: setup.Programs{Helper: setup.Running}}
	root := h.rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	return h.exit(ctx, root.ExecuteContext(ctx))
}

// exit prints an error and returns its exit code.
func (h *Helper) exit(ctx context.Context, err error) int {
	if err == nil {
		return cmdline.ExitDone
	}
	cmdline.Explain(err).Print(h.UI)
	if ctx.Err() != nil {
		return cmdline.ExitInterrupted
	}
	return cmdline.ExitCode(err)
}

func (h *Helper) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ferry-helper",
		Short: "What ferry runs on hosts",
		Long: `ferry-helper is ferry's part on a host of MicroVMs: ` + "`ferry`" + ` brings and starts it by
itself, and under the name ` + "`microvm`" + ` it is microvm.nix's command.`,
		Version: cmdline.ThisBuild().String(),
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cmdline.UnknownCommand(cmd, args[0])
			}
			return &cmdline.UsageError{Err: errors.New("no command given"), Next: "ferry-helper host --help lists them"}
		},
	}
	host := &cobra.Command{
		Use:   "host",
		Short: "The commands, as root",
		Long: "The commands, as root. `ferry` starts them itself; by hand,\n" +
			"`ferry-helper host probe NAME` tells what ferry sees of a VM.",
		RunE: func(*cobra.Command, []string) error {
			return &cmdline.UsageError{Err: errors.New("host needs a command"), Next: "ferry-helper host --help lists them"}
		},
	}
	h.AddTo(host)
	cmdline.AddVersion(host)
	root.AddCommand(host)
	cmdline.Strict(root)
	return root
}
