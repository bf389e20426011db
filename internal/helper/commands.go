package helper

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/host"
	"ferry/internal/host/inventory"
	"ferry/internal/host/setup"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/ui"
)

// Helper is what the commands of one run share.
type Helper struct {
	In       io.Reader
	Out, Err io.Writer
	UI       *ui.UI // prints on Out and Err
	// Programs are what setting this machine up installs.
	Programs setup.Programs
}

// AddTo adds the commands that run on a host to `host`.
func (h *Helper) AddTo(host *cobra.Command) {
	host.AddCommand(h.autostart(), h.list(), h.vsockProxy(), h.session(), h.probe(),
		h.guard(), h.settle(), h.importing(), h.virtiofsd(), h.protect())
	host.AddCommand(h.life()...)
}

func (h *Helper) session() *cobra.Command {
	return &cobra.Command{
		Use:   "session",
		Short: "Answer requests: one JSON object a line on stdin, JSON events on stdout",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A connection that breaks must not end what has to be finished; the
			// end of the input says that nobody listens any more.
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
			others := host.Others{Setup: h.setUp, Timers: setTimers,
				List: func(ctx context.Context, req hostapi.ListRequest) ([]hostapi.Listed, error) {
					return List(ctx, h.Err, req.Check, req.Except)
				}}
			return host.Serve(cmd.Context(), vmstate.DefaultLayout(), others, h.In, h.Out)
		},
	}
}

func (h *Helper) probe() *cobra.Command {
	return &cobra.Command{
		Use:   "probe NAME",
		Short: "Print what ferry sees of a VM, as JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := microvm.ParseName(args[0])
			if err != nil {
				return cmdline.Usage(cmd, err)
			}
			srv, err := host.NewServer(cmd.Context(), vmstate.DefaultLayout(), h.Err)
			if err != nil {
				return err
			}
			defer srv.Close()
			facts, err := srv.Probe(cmd.Context(), hostapi.ProbeRequest{Name: n})
			if err != nil {
				return err
			}
			return h.UI.Data(facts)
		},
	}
}

func (h *Helper) importing() *cobra.Command {
	return &cobra.Command{
		Use:    "import",
		Short:  "Import a stream of `nix-store --export` from stdin",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n := &nix.Nix{Program: "nix", Log: h.Err}
			if err := n.Import(cmd.Context(), h.In); err != nil {
				return fmt.Errorf("importing into the store: %w", err)
			}
			return nil
		},
	}
}

// vsockProxy connects ssh with a guest's sshd.
func (h *Helper) vsockProxy() *cobra.Command {
	return &cobra.Command{
		Use:   "vsock-proxy NAME",
		Short: "Connect stdin and stdout with sshd in a VM, over vsock (for ssh's ProxyCommand)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := microvm.ParseName(args[0])
			if err != nil {
				return cmdline.Usage(cmd, err)
			}
			l := inventory.NewLister(cmd.Context(), vmstate.DefaultLayout())
			defer l.Close()
			vsock, err := l.FindVsock(cmd.Context(), n)
			if err != nil {
				return err
			}
			conn, err := vsock.Dial(cmd.Context())
			if err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			return inventory.Pipe(conn, h.In, h.Out)
		},
	}
}
