package cli

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/flake"
	"ferry/internal/host"
	hostmanage "ferry/internal/host/manage"
	"ferry/internal/host/vmstate"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// placeOptions say where a VM or a host is, for the commands that deploy
// nothing.
type placeOptions struct {
	flake    string
	host     string
	hostSudo bool
	nix      nixOptions
}

// addFlags is for commands that name a VM.
func (o *placeOptions) addFlags(cmd *cobra.Command) {
	o.addHostFlag(cmd)
	o.addFlakeFlags(cmd)
}

func (o *placeOptions) addHostFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.host, "host", "", "the VM's host: an address, a name of ferry.hosts, or local (default: the flake's ferry.vms.NAME.host)")
}

// addFlakeFlags is for commands that name hosts as arguments.
func (o *placeOptions) addFlakeFlags(cmd *cobra.Command) { o.addFlakeFlagsAs(cmd, "f") }

// addFlakeFlagsAs is for commands where -f is another option.
func (o *placeOptions) addFlakeFlagsAs(cmd *cobra.Command, letter string) {
	fs := cmd.Flags()
	fs.StringVarP(&o.flake, "flake", letter, ".", "the flake whose ferry output names hosts and VMs; asked only where needed")
	fs.BoolVar(&o.hostSudo, "host-sudo", false, "become root on the host with sudo")
	o.nix.addFlags(fs)
}

// withManager runs f with a Manager of these options.
func (a *app) withManager(ctx context.Context, o *placeOptions, f func(*manage.Manager) error) error {
	remote.RemoveStale(ctx)
	dir, remove, err := remote.NewSocketDir()
	if err != nil {
		return err
	}
	defer remove()
	return f(&manage.Manager{
		Report:    a.ui,
		Fleets:    &flake.Evaluator{Nix: &nix.Nix{Program: "nix", Log: a.ui.Log("nix")}, CacheDir: flake.DefaultCacheDir()},
		Source:    flake.Source{Ref: o.flake, Options: o.nix.words},
		SocketDir: dir, AskPassword: terminalPassword(),
	})
}

// onHostOf connects to the host of a VM and runs f.
func (a *app) onHostOf(ctx context.Context, vm microvm.Name, o *placeOptions, f func(*manage.Manager, *manage.Host) error) error {
	return a.withManager(ctx, o, func(m *manage.Manager) error {
		place, err := m.PlaceOf(ctx, vm, o.host, o.hostSudo)
		if err != nil {
			return err
		}
		h, err := m.Connect(ctx, place)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(m, h)
	})
}

// onPlace connects to the host that the user named.
func (a *app) onPlace(ctx context.Context, o *placeOptions, word string, f func(*manage.Host) error) error {
	return a.withManager(ctx, o, func(m *manage.Manager) error {
		place, err := m.Place(ctx, word, o.hostSudo)
		if err != nil {
			return err
		}
		h, err := m.Connect(ctx, place)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
}

// vmArgument is the VM's name, the first of at most 1+more arguments.
func vmArgument(cmd *cobra.Command, args []string, more int) (microvm.Name, error) {
	wrong := func(err error) (microvm.Name, error) {
		return "", &usageError{err: err, hint: "usage: " + cmd.UseLine()}
	}
	switch {
	case len(args) == 0:
		return wrong(fmt.Errorf("%s needs the name of a VM", cmd.Name()))
	case len(args) > 1+more:
		return wrong(fmt.Errorf("too many arguments: %s takes at most %d", cmd.Name(), 1+more))
	}
	n, err := microvm.ParseName(args[0])
	if err != nil {
		return wrong(err)
	}
	return n, nil
}

// aliveEvery is how often a command of the helper shows that it lives. The
// operator's side waits for several times that.
const aliveEvery = 15 * time.Second

// answering makes the RunE of a helper's command: f's answers go to stdout as
// events, one a line, and its error as the last of them. With --attached, ctx
// ends with the input: then nobody listens any more; until then there are signs of
// life between the answers.
func (a *app) answering(f func(ctx context.Context, args []string, answers *host.Answers) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		// A connection that breaks must not end what has to be finished.
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		attached, _ := cmd.Flags().GetBool("attached")
		if attached {
			go func() {
				_, _ = io.Copy(io.Discard, a.in)
				cancel()
			}()
		}
		answers := host.NewAnswers(a.out)
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

// managing is answering for commands of a VM's life on this machine.
func (a *app) managing(f func(ctx context.Context, machine *hostmanage.Machine, args []string, answers *host.Answers) error) func(*cobra.Command, []string) error {
	return a.answering(func(ctx context.Context, args []string, answers *host.Answers) error {
		machine, err := hostmanage.Open(ctx, vmstate.DefaultLayout(), a.err)
		if err != nil {
			return err
		}
		defer machine.Close()
		return f(ctx, machine, args, answers)
	})
}
