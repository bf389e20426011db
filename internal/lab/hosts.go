package lab

import (
	"context"
	"fmt"
	"path/filepath"

	"ferry/internal/release"

	"golang.org/x/sync/errgroup"
)

// setUpHosts makes the hosts what a user's are: by `ferry host setup`, which
// does nothing where all is there.
func (l *Lab) setUpHosts(ctx context.Context) error {
	binary, err := l.ferryBinary(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range l.machines {
		if m.kind != kindHost || m.bare {
			continue
		}
		g.Go(func() error {
			if err := m.SetUp(ctx, binary); err != nil {
				return fmt.Errorf("setting up %s: %w", m.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// SetUp runs `ferry host setup local` in the machine with a ferry binary of this
// machine.
func (m *Machine) SetUp(ctx context.Context, binary string) error {
	const ferry = "/run/ferry-lab/ferry"
	if err := m.Install(ctx, binary, ferry, 0o755); err != nil {
		return err
	}
	if _, err := m.Output(ctx, ferry, "host", "setup", "local"); err != nil {
		return err
	}
	_, err := m.Output(ctx, "rm", "-r", filepath.Dir(ferry))
	return err
}

// ferryBinary builds ferry unless one was given.
func (l *Lab) ferryBinary(ctx context.Context) (string, error) {
	if l.ferry != "" {
		return l.ferry, nil
	}
	binary := l.path("ferry")
	if err := (release.Build{To: binary}).Do(ctx); err != nil {
		return "", fmt.Errorf("for the lab's hosts: %w", err)
	}
	return binary, nil
}

// Reset ends the machine and forgets its disk: the next Start boots it as new.
func (m *Machine) Reset(ctx context.Context) error {
	if err := m.Kill(ctx); err != nil {
		return err
	}
	dir := m.lab.path("machines", m.Name)
	if err := unmountBelow(dir); err != nil {
		return err
	}
	return removeTree(dir)
}
