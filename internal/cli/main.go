// Package cli is the operator's command line: one file per command. It parses,
// calls internal/deploy or internal/manage, and prints; it decides nothing about
// deployments. Beside it are its rooms: what commands share (console), the options
// that several have (option), questions to the operator (terminal), and the commands
// for updates (updates).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cli/updates"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/deploy/request"
	"ferry/internal/flakeupdate"
	"ferry/internal/helper"
	"ferry/internal/manage"
	"ferry/internal/ui"
)

// Main runs ferry with the process's arguments and streams and returns its exit
// code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends ferry at once
	run := Run
	if helper.IsMicrovm(args) { // as hosts have it that an older ferry has set up
		run = helper.RunMicrovm
	}
	return run(ctx, args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run is Main with the streams given, for tests.
func Run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &console.Console{In: in, Out: out, Err: errw, UI: ui.New(out, errw, false)}
	root := rootCommand(a)
	root.SetArgs(option.JoinTwoValues(args))
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return cmdline.ExitDone
	}
	var command commandExit
	if errors.As(err, &command) {
		return int(command)
	}
	if ctx.Err() != nil {
		a.PrintError(err)
		return cmdline.ExitInterrupted
	}
	a.PrintError(err)
	return exitCode(err)
}

// commandExit is the exit code of a command that ferry ran in the foreground for
// the user; there is nothing to add to what that command has said.
type commandExit int

func (e commandExit) Error() string {
	return "the command failed with exit code " + strconv.Itoa(int(e))
}

// exitCode maps an error to the exit code that scripts rely on.
func exitCode(err error) int {
	var missing *request.UsageError
	var undone *deploy.Error
	var request *flakeupdate.UsageError
	var busy *flakeupdate.BusyError
	var hosts *manage.HostsError
	code := cmdline.ExitCode(err)
	switch {
	case code == cmdline.ExitUsage, errors.As(err, &missing), errors.As(err, &request):
		return cmdline.ExitUsage
	case errors.As(err, &undone) && undone.RolledBack:
		return cmdline.ExitRolledBack
	case errors.As(err, &hosts) && hosts.Done > 0:
		return cmdline.ExitSome
	case code == cmdline.ExitFailed && errors.As(err, &busy):
		return cmdline.ExitLocked
	}
	return code
}

func rootCommand(a *console.Console) *cobra.Command {
	root := &cobra.Command{
		Use:   "ferry",
		Short: "Deploy NixOS MicroVMs over SSH",
		Long: `ferry deploys NixOS MicroVMs (microvm.nix) over SSH: it evaluates here, builds on
the host, installs, and switches the running VM live, or restarts it where that
is needed.`,
		Example: `  ferry rebuild web                                    # addresses from the flake
  ferry rebuild web root@server root@web.example.com   # or named here
  ferry rebuild web --dry-run`,
		Version: cmdline.ThisBuild().String(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cmdline.UnknownCommand(cmd, args[0])
			}
			fmt.Fprintln(a.Err, cmd.UsageString())
			return &cmdline.UsageError{Err: errors.New("no command given"), Next: "the daily one is: ferry rebuild NAME"}
		},
		Args: cobra.ArbitraryArgs,
	}
	root.PersistentFlags().BoolVarP(&a.UI.Verbose, "verbose", "v", false, "tell more of what is done")
	root.PersistentFlags().BoolVar(&a.UI.JSON, "json", false, "print results as JSON, one object a line")
	noColour := root.PersistentFlags().Bool("no-color", false, "no colours (also: NO_COLOR)")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		if *noColour {
			a.UI.Colour = false
		}
	}
	root.AddCommand(rebuildCommand(a), installCommand(a), switchCommand(a), autostartCommand(a), listCommand(a), updates.Command(a), updates.FlakeCommand(a), hostCommand(a), doctorCommand(a), explainCommand(a))
	root.AddCommand(startCommand(a), stopCommand(a), restartCommand(a), logsCommand(a), sshCommand(a), historyCommand(a),
		generationsCommand(a), rollbackCommand(a), attachCommand(a), diffCommand(a), removeCommand(a), versionCommand(a))
	addCompletion(root)
	cmdline.Strict(root)
	return root
}
