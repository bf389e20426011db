package cli

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

// withManager runs f with a Manager of these options.
func (a *app) withManager(ctx context.Context, o *option.Place, f func(*manage.Manager) error) error {
	remote.RemoveStale(ctx)
	dir, remove, err := remote.NewSocketDir()
	if err != nil {
		return err
	}
	defer remove()
	return f(&manage.Manager{
		Report:    a.ui,
		Fleets:    &flake.Evaluator{Nix: &nix.Nix{Program: "nix", Log: a.ui.Log("nix")}, CacheDir: flake.DefaultCacheDir()},
		Source:    flake.Source{Ref: o.Flake, Options: o.Nix.Words},
		SocketDir: dir, AskPassword: terminal.Password(),
	})
}

// onHostOf connects to the host of a VM and runs f.
func (a *app) onHostOf(ctx context.Context, vm microvm.Name, o *option.Place, f func(*manage.Manager, *manage.Host) error) error {
	return a.withManager(ctx, o, func(m *manage.Manager) error {
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

// onPlace connects to the host that the user named.
func (a *app) onPlace(ctx context.Context, o *option.Place, word string, f func(*manage.Host) error) error {
	return a.onPlaceWith(ctx, o, word, func(*manage.Manager, manage.Place) {}, f)
}

// onPlaceWith is onPlace, with something before that needs the flake.
func (a *app) onPlaceWith(ctx context.Context, o *option.Place, word string, before func(*manage.Manager, manage.Place), f func(*manage.Host) error) error {
	return a.withManager(ctx, o, func(m *manage.Manager) error {
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
