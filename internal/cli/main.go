// Package cli is ferry's command line: one file per command, the exit codes in
// one place. It parses, calls internal/deploy or internal/host, and prints; it
// decides nothing about deployments.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ferry/internal/deploy"
	"ferry/internal/flakeupdate"
	"ferry/internal/hostapi"
	"ferry/internal/ui"
)

// The exit codes, the same for all commands.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitSome        = 3 // failed, others done
	exitRolledBack  = 4
	exitLocked      = 5
	exitInterrupted = 130
)

// exitCodes ends every command's help.
const exitCodes = `Exit codes: 0 done; 1 failed; 2 wrong usage; 3 some failed, others done;
4 failed and rolled back; 5 locked by another deployment; 130 interrupted.`

// app is what the commands of one run share.
type app struct {
	in  io.Reader
	ui  *ui.UI
	out io.Writer
	err io.Writer
}

// Main runs ferry with the process's arguments and streams and returns its exit
// code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends ferry at once
	run := Run
	if isMicrovm(args) {
		run = RunMicrovm
	}
	return run(ctx, args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run is Main with the streams given, for tests.
func Run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, err: errw, ui: ui.New(out, errw, false)}
	root := a.rootCommand()
	root.SetArgs(joinTwoValueOptions(args))
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var command commandExit
	if errors.As(err, &command) {
		return int(command)
	}
	if ctx.Err() != nil {
		a.printError(err)
		return exitInterrupted
	}
	a.printError(err)
	return exitCode(err)
}

// usageError is a command line that is wrong.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

// commandExit is the exit code of a command that ferry ran in the foreground for
// the user; there is nothing to add to what that command has said.
type commandExit int

func (e commandExit) Error() string {
	return "the command failed with exit code " + strconv.Itoa(int(e))
}

// exitCode maps an error to the exit code that scripts rely on.
func exitCode(err error) int {
	var usage *usageError
	var missing *deploy.UsageError
	var failure *hostapi.Failure
	var undone *deploy.Error
	var request *flakeupdate.UsageError
	var busy *flakeupdate.BusyError
	switch {
	case errors.As(err, &usage), errors.As(err, &missing), errors.As(err, &request), isWrongOption(err):
		return exitUsage
	case errors.As(err, &undone) && undone.RolledBack:
		return exitRolledBack
	case someDone(err):
		return exitSome
	case errors.As(err, &failure) && failure.RolledBack:
		return exitRolledBack
	case errors.As(err, &failure) && failure.Kind == hostapi.KindLocked, errors.As(err, &busy):
		return exitLocked
	}
	return exitFailed
}

// printError prints an error once: the end of the log that shows why, the
// message, how things are, and what to do next.
func (a *app) printError(err error) {
	var failure *hostapi.Failure
	var log []string
	hint := ""
	if errors.As(err, &failure) {
		log, hint = failure.Log, failure.Hint
	}
	var hinter interface{ Hint() string }
	if hint == "" && errors.As(err, &hinter) {
		hint = hinter.Hint()
	}
	message := saidOnce(err.Error())
	var de *deploy.Error
	if errors.As(err, &de) && de.State != "" {
		message += "\n" + string(de.VM) + ": " + de.State
	} else if failure != nil && failure.State != "" { // of work in this very process
		message += "\n" + failure.State
	}
	a.ui.Error(message, hint, log)
}

// saidOnce drops a subject before a message that begins with the same subject:
// "web: web has no generation 7". Each layer names what it is about, since it
// doesn't know who else does.
func saidOnce(message string) string {
	for {
		subject, rest, ok := strings.Cut(message, ": ")
		after, same := strings.CutPrefix(rest, subject)
		if !ok || !same || subject == "" || strings.Contains(subject, " ") || !strings.HasPrefix(after, " ") && !strings.HasPrefix(after, ": ") {
			return message
		}
		message = rest
	}
}

// usageErrors makes a wrong number of arguments a wrong usage, for cobra's own
// checks in all commands below cmd.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &usageError{err: err, hint: "usage: " + cmd.UseLine()}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		usageErrors(c)
	}
}

func unknownCommand(cmd *cobra.Command, word string) error {
	message := "unknown command " + quoted(word)
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		message += " (did you mean `" + near[0] + "`?)"
	}
	return &usageError{err: errors.New(message), hint: cmd.CommandPath() + " --help lists the commands"}
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ferry",
		Short: "Deploy NixOS MicroVMs over SSH",
		Long: `ferry deploys NixOS MicroVMs (microvm.nix) over SSH: it evaluates here, builds on
the host, installs, and switches the running VM live, or restarts it where that
is needed.`,
		Example: `  ferry rebuild web                                    # addresses from the flake
  ferry rebuild web root@server root@web.example.com   # or named here
  ferry rebuild web --dry-run`,
		Version:           thisBuild().String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			fmt.Fprintln(a.err, cmd.UsageString())
			return &usageError{err: errors.New("no command given"), hint: "the daily one is: ferry rebuild NAME"}
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, hint: cmd.CommandPath() + " --help lists the options"}
	})
	root.PersistentFlags().BoolVarP(&a.ui.Verbose, "verbose", "v", false, "tell more of what is done")
	root.PersistentFlags().BoolVar(&a.ui.JSON, "json", false, "print results as JSON, one object a line")
	noColour := root.PersistentFlags().Bool("no-color", false, "no colours (also: NO_COLOR)")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		if *noColour {
			a.ui.Colour = false
		}
	}
	root.SetVersionTemplate(versionTemplate)
	root.SetHelpTemplate(root.HelpTemplate() + "\n" + exitCodes + "\n")
	root.AddCommand(a.rebuildCommand(), a.installCommand(), a.switchCommand(), a.autostartCommand(), a.listCommand(), a.updateCommand(), a.flakeUpdateCommand(), a.hostCommand())
	root.AddCommand(a.startCommand(), a.stopCommand(), a.restartCommand(), a.logsCommand(), a.sshCommand(), a.historyCommand(),
		a.generationsCommand(), a.rollbackCommand(), a.attachCommand(), a.diffCommand(), a.removeCommand(), a.versionCommand())
	usageErrors(root)
	return root
}
