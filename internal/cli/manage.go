package cli

import (
	"context"

	"github.com/spf13/cobra"

	"ferry/internal/cli/terminal"
	"ferry/internal/flake"
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
		SocketDir: dir, AskPassword: terminal.Password(),
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
	return a.onPlaceWith(ctx, o, word, func(*manage.Manager, manage.Place) {}, f)
}

// onPlaceWith is onPlace, with something before that needs the flake.
func (a *app) onPlaceWith(ctx context.Context, o *placeOptions, word string, before func(*manage.Manager, manage.Place), f func(*manage.Host) error) error {
	return a.withManager(ctx, o, func(m *manage.Manager) error {
		place, err := m.Place(ctx, word, o.hostSudo)
		if err != nil {
			return err
		}
		before(m, place)
		h, err := m.Connect(ctx, place)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
}
