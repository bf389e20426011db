package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"ferry/internal/flake"
	"ferry/internal/host"
	"ferry/internal/host/inventory"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvmcmd"
	"ferry/internal/nix"
	"ferry/internal/ui"
)

// isMicrovm reports whether this program was started as microvm.nix's command.
// A copy of ferry under that name still is a helper: `microvm host …` was never
// an option of the command.
func isMicrovm(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == "microvm" && (len(args) < 2 || args[1] != "host")
}

// RunMicrovm is Run for the `microvm` command.
func RunMicrovm(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, err: errw, ui: ui.New(out, errw, false)}
	err := a.microvm(ctx, args)
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		a.printError(err)
		return exitInterrupted
	}
	a.printError(err)
	return exitCode(err)
}

func (a *app) microvm(ctx context.Context, args []string) error {
	o, err := microvmcmd.Parse(args)
	if err != nil {
		return err
	}
	lister := inventory.NewLister(ctx, vmstate.DefaultLayout())
	defer lister.Close()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding ferry's own binary: %w", err)
	}
	var srv *host.Server
	defer func() {
		if srv != nil {
			srv.Close()
		}
	}()
	c := &microvmcmd.Command{
		Machine: lister,
		Deploy: func(ctx context.Context) (microvmcmd.Deployer, error) {
			if os.Geteuid() != 0 {
				return nil, hostapi.Refuse("only root may change this host's MicroVMs", "run it with sudo")
			}
			var err error
			srv, err = host.NewServer(ctx, vmstate.DefaultLayout(), a.ui.Log("nix"))
			return srv, err
		},
		Evaluate: &flake.Evaluator{Nix: &nix.Nix{Program: "nix", Log: a.ui.Log("nix")}, CacheDir: flake.DefaultCacheDir()},
		Report:   reporter{UI: a.ui, app: a},
		Answers:  host.NewAnswers(eventPrinter{a.ui}),
		Exec:     replace,
		Program:  program, Lib: vmstate.DefaultLayout().Lib, Root: os.Geteuid() == 0,
	}
	return c.Run(ctx, o)
}

// replace runs a program in place of this one.
func replace(program string, argv []string, dir string) error {
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return err
		}
	}
	return syscall.Exec(program, argv, os.Environ())
}

// reporter prints for the drop-in.
type reporter struct {
	*ui.UI
	app *app
}

func (r reporter) Problem(subject string, err error) { r.app.problem(subject, err) }

// eventPrinter shows the events of work that is done in this very process.
type eventPrinter struct{ ui *ui.UI }

func (e eventPrinter) Write(line []byte) (int, error) {
	var ev hostapi.Event
	if err := json.Unmarshal(line, &ev); err == nil && ev.Event == "log" {
		e.ui.Step(ev.Source, "%s", ev.Line)
	}
	return len(line), nil
}

// isWrongOption reports whether the drop-in's command line is wrong.
func isWrongOption(err error) bool {
	var usage *microvmcmd.UsageError
	return errors.As(err, &usage)
}

// someDone reports whether some VMs or hosts failed and others did not.
func someDone(err error) bool {
	var vms *microvmcmd.PartialError
	var hosts *manage.HostsError
	var updates *partialError
	if errors.As(err, &updates) && updates.done > 0 {
		return true
	}
	return errors.As(err, &vms) && vms.Done > 0 || errors.As(err, &hosts) && hosts.Done > 0
}
