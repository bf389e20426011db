package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// jobTimeout bounds a job on a unit that is no VM's: those end within seconds.
const jobTimeout = time.Minute

// Version is systemd's own, such as `257.8-1`.
func (s *Manager) Version() (string, error) {
	var v string
	err := s.bus.call(context.Background(), func(c *dbus.Conn) (err error) {
		v, err = c.GetManagerProperty("Version")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking systemd for its version: %w", err)
	}
	return strings.Trim(v, `"`), nil
}

// Properties are all that systemd says of a unit, with the types of D-Bus.
func (s *Manager) Properties(ctx context.Context, unit string) (map[string]any, error) {
	var p map[string]any
	err := s.bus.call(ctx, func(c *dbus.Conn) (err error) {
		p, err = c.GetAllPropertiesContext(ctx, unit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking systemd about %s: %w", unit, err)
	}
	return p, nil
}

// ResetFailed has systemd forget that a unit failed.
func (s *Manager) ResetFailed(ctx context.Context, unit string) error {
	if err := s.bus.call(ctx, func(c *dbus.Conn) error { return c.ResetFailedUnitContext(ctx, unit) }); err != nil {
		return fmt.Errorf("forgetting the failure of %s: %w", unit, err)
	}
	return nil
}

// RestartUnit starts a unit, or restarts it, and waits until that is done.
func (s *Manager) RestartUnit(ctx context.Context, unit string) error {
	return s.short(ctx, restartJob(unit, nil))
}

// StopUnit stops a unit and waits until that is done.
func (s *Manager) StopUnit(ctx context.Context, unit string) error {
	return s.short(ctx, stopJob(unit, nil))
}

func (s *Manager) short(ctx context.Context, j job) error {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	result, err := s.do(ctx, j)
	if err != nil {
		return fmt.Errorf("%s: %w", j.unit, err)
	}
	if result != "done" {
		return fmt.Errorf("%s: the job ended with %q", j.unit, result)
	}
	return nil
}

// EnableFile has a unit start with the machine.
func (s *Manager) EnableFile(ctx context.Context, unit string) error {
	err := s.bus.call(ctx, func(c *dbus.Conn) error {
		_, _, err := c.EnableUnitFilesContext(ctx, []string{unit}, false, true)
		return err
	})
	if err != nil {
		return fmt.Errorf("enabling %s: %w", unit, err)
	}
	return nil
}

// DisableFile undoes EnableFile; a unit that has no file is disabled already.
func (s *Manager) DisableFile(ctx context.Context, unit string) error {
	if _, err := s.disable(ctx, unit); err != nil && !strings.Contains(err.Error(), "does not exist") {
		return fmt.Errorf("disabling %s: %w", unit, err)
	}
	return nil
}

func (s *Manager) disable(ctx context.Context, unit string) (changes []dbus.DisableUnitFileChange, err error) {
	err = s.bus.call(ctx, func(c *dbus.Conn) (err error) {
		changes, err = c.DisableUnitFilesContext(ctx, []string{unit}, false)
		return err
	})
	return changes, err
}
