package console

import (
	"context"

	"ferry/internal/cli/option"
	"ferry/internal/cli/terminal"
	"ferry/internal/flake"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// WithManager runs f with a Manager of these options.
func (c *Console) WithManager(ctx context.Context, o *option.Place, f func(*manage.Manager) error) error {
	remote.RemoveStale(ctx)
	dir, remove, err := remote.NewSocketDir()
	if err != nil {
		return err
	}
	defer remove()
	return f(&manage.Manager{
		Report:    c.UI,
		Fleets:    &flake.Evaluator{Nix: &nix.Nix{Program: "nix", Log: c.UI.Log("nix")}, CacheDir: flake.DefaultCacheDir()},
		Source:    flake.Source{Ref: o.Flake, Options: o.Nix.Words},
		SocketDir: dir, AskPassword: terminal.Password(),
	})
}

// OnHostOf connects to the host of a VM and runs f.
func (c *Console) OnHostOf(ctx context.Context, vm microvm.Name, o *option.Place, f func(*manage.Manager, *manage.Host) error) error {
	return c.WithManager(ctx, o, func(m *manage.Manager) error {
		place, err := m.PlaceOf(ctx, vm, o.Host, o.HostSudo)
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

// OnPlace connects to the host that the user named.
func (c *Console) OnPlace(ctx context.Context, o *option.Place, word string, f func(*manage.Host) error) error {
	return c.OnPlaceWith(ctx, o, word, func(*manage.Manager, manage.Place) {}, f)
}

// OnPlaceWith is onPlace, with something before that needs the flake.
func (c *Console) OnPlaceWith(ctx context.Context, o *option.Place, word string, before func(*manage.Manager, manage.Place), f func(*manage.Host) error) error {
	return c.WithManager(ctx, o, func(m *manage.Manager) error {
		place, err := m.Place(ctx, word, o.HostSudo)
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
