package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// jobTimeout bounds a job on a unit that is no VM's: those end within seconds.
const jobTimeout = time.Minute

// Version is systemd's own, such as `257.8-1`.
func (s *Manager) Version() (string, error) {
	v, err := s.conn.GetManagerProperty("Version")
	if err != nil {
		return "", fmt.Errorf("asking systemd for its version: %w", err)
	}
	return strings.Trim(v, `"`), nil
}

// Properties are all that systemd says of a unit, with the types of D-Bus.
func (s *Manager) Properties(ctx context.Context, unit string) (map[string]any, error) {
	p, err := s.conn.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return nil, fmt.Errorf("asking systemd about %s: %w", unit, err)
	}
	return p, nil
}

// ResetFailed has systemd forget that a unit failed.
func (s *Manager) ResetFailed(ctx context.Context, unit string) error {
	if err := s.conn.ResetFailedUnitContext(ctx, unit); err != nil {
		return fmt.Errorf("forgetting the failure of %s: %w", unit, err)
	}
	return nil
}

// RestartUnit starts a unit, or restarts it, and waits until that is done.
func (s *Manager) RestartUnit(ctx context.Context, unit string) error {
	return s.job(ctx, unit, s.conn.RestartUnitContext)
}

// StopUnit stops a unit and waits until that is done.
func (s *Manager) StopUnit(ctx context.Context, unit string) error {
	return s.job(ctx, unit, s.conn.StopUnitContext)
}

func (s *Manager) job(ctx context.Context, unit string, start func(context.Context, string, string, chan<- string) (int, error)) error {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	done := make(chan string, 1)
	if _, err := start(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("%s: %w", unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%s: the job ended with %q", unit, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", unit, ctx.Err())
	}
}

// EnableFile has a unit start with the machine.
func (s *Manager) EnableFile(ctx context.Context, unit string) error {
	if _, _, err := s.conn.EnableUnitFilesContext(ctx, []string{unit}, false, true); err != nil {
		return fmt.Errorf("enabling %s: %w", unit, err)
	}
	return nil
}

// DisableFile undoes EnableFile; a unit that has no file is disabled already.
func (s *Manager) DisableFile(ctx context.Context, unit string) error {
	if _, err := s.conn.DisableUnitFilesContext(ctx, []string{unit}, false); err != nil && !strings.Contains(err.Error(), "does not exist") {
		return fmt.Errorf("disabling %s: %w", unit, err)
	}
	return nil
}
