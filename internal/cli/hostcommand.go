package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"ferry/internal/host"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// hostCommand is ferry on the host: started there by the operator's side, and
// usable by hand.
func (a *app) hostCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "host",
		Short:   "Set a host up, and what ferry runs on one (as root)",
		Version: thisBuild().String(), // of the helper, too
		Long: "`ferry host setup HOST` makes a machine a host. The other commands run on a host, as\n" +
			"root, where ferry starts them itself; by hand, `ferry host probe NAME` tells what\nferry sees of a VM.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return &usageError{err: errors.New("host needs a command"), hint: "ferry host --help lists them"}
		},
	}
	cmd.PersistentFlags().Bool("attached", false, "end when the input ends")
	_ = cmd.PersistentFlags().MarkHidden("attached")
	cmd.AddCommand(a.hostSetup(), a.hostSetupHere(), a.hostTimer(), a.hostTimerHere(), a.hostAutostart(), a.hostList(), a.hostVsockProxy(), a.hostSession(), a.hostProbe(), a.hostGuard(), a.hostSettle(), a.hostImport(), a.hostRegistration())
	cmd.AddCommand(a.hostLife()...)
	return cmd
}

func (a *app) hostSession() *cobra.Command {
	return &cobra.Command{
		Use:   "session",
		Short: "Answer requests: one JSON object a line on stdin, JSON events on stdout",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A connection that breaks must not end what has to be finished; the
			// end of the input says that nobody listens any more.
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
			others := host.Others{Setup: setupHere, Timers: timersHere,
				List: func(ctx context.Context, req hostapi.ListRequest) ([]hostapi.Listed, error) {
					return a.listHere(ctx, req.Check, req.Except)
				}}
			return host.Serve(cmd.Context(), host.DefaultLayout(), others, a.in, a.out)
		},
	}
}

func (a *app) hostProbe() *cobra.Command {
	return &cobra.Command{
		Use:   "probe NAME",
		Short: "Print what ferry sees of a VM, as JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := microvm.ParseName(args[0])
			if err != nil {
				return &usageError{err: err, hint: "usage: ferry host probe NAME"}
			}
			srv, err := host.NewServer(cmd.Context(), host.DefaultLayout(), os.Stderr)
			if err != nil {
				return err
			}
			defer srv.Close()
			facts, err := srv.Probe(cmd.Context(), hostapi.ProbeRequest{Name: n})
			if err != nil {
				return err
			}
			return a.ui.Data(facts)
		},
	}
}

func (a *app) hostImport() *cobra.Command {
	return &cobra.Command{
		Use:    "import",
		Short:  "Import a stream of `nix-store --export` from stdin",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n := &nix.Nix{Program: "nix", Log: a.err}
			if err := n.Import(cmd.Context(), a.in); err != nil {
				return fmt.Errorf("importing into the store: %w", err)
			}
			return nil
		},
	}
}

func (a *app) hostRegistration() *cobra.Command {
	return &cobra.Command{
		Use:    "registration SYSTEM",
		Short:  "Print the Nix database registration of a system's closure",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := microvm.ParseStorePath(args[0])
			if err != nil {
				return &usageError{err: err, hint: "usage: ferry host registration SYSTEM"}
			}
			n := &nix.Nix{Program: "nix", Log: a.err}
			return n.DumpRegistration(cmd.Context(), a.out, p)
		},
	}
}
