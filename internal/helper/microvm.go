package helper

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"ferry/internal/cmdline"
	"ferry/internal/flake"
	"ferry/internal/host"
	"ferry/internal/host/inventory"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvmcmd"
	"ferry/internal/nix"
	"ferry/internal/ui"
)

// IsMicrovm reports whether this program was started as microvm.nix's command.
// Under that name, too, it is a helper: `microvm host …` was never an option of
// the command.
func IsMicrovm(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == "microvm" && (len(args) < 2 || args[1] != "host")
}

// RunMicrovm runs the `microvm` command and returns its exit code.
func RunMicrovm(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	h := &Helper{In: in, Out: out, Err: errw, UI: ui.New(out, errw, false)}
	return h.exit(ctx, h.microvm(ctx, args))
}

func (h *Helper) microvm(ctx context.Context, args []string) error {
	o, err := microvmcmd.Parse(args)
	if err != nil {
		return err
	}
	lister := inventory.NewLister(ctx, vmstate.DefaultLayout())
	defer lister.Close()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program's file: %w", err)
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
			srv, err = host.NewServer(ctx, vmstate.DefaultLayout(), h.UI.Log("nix"))
			return srv, err
		},
		Evaluate: &flake.Evaluator{Nix: &nix.Nix{Program: "nix", Log: h.UI.Log("nix")}, CacheDir: flake.DefaultCacheDir()},
		Report:   reporter{h.UI},
		Answers:  host.NewAnswers(eventPrinter{h.UI}),
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

// reporter prints for the `microvm` command.
type reporter struct{ *ui.UI }

func (r reporter) Problem(subject string, err error) {
	cmdline.Explain(fmt.Errorf("%s: %w", subject, err)).Print(r.UI)
}

// eventPrinter shows the events of work that is done in this very process.
type eventPrinter struct{ ui *ui.UI }

func (e eventPrinter) Write(line []byte) (int, error) {
	var ev hostapi.Event
	if err := json.Unmarshal(line, &ev); err == nil && ev.Event == "log" {
		e.ui.Step(ev.Source, "%s", ev.Line)
	}
	return len(line), nil
}
