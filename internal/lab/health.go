package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// healthLimit is how long a machine may take to show that it is well, in patience.
const healthLimit = 15 * time.Second

// Check returns nil where all machines that Up starts are up and answer, so that
// what went wrong in them is the product's doing and not the lab's.
func (l *Lab) Check(ctx context.Context) error {
	var errs []error
	for _, m := range l.machines {
		if !m.bare {
			errs = append(errs, m.Check(ctx))
		}
	}
	return errors.Join(errs...)
}

// Check returns nil where the container runs, its systemd has booted and its sshd
// answers.
func (m *Machine) Check(ctx context.Context) error {
	err := Await(ctx, healthLimit, 200*time.Millisecond, func(ctx context.Context) error {
		if !m.Running() {
			return errors.New("its container does not run")
		}
		out, err := m.Output(ctx, "systemctl", "is-system-running")
		if out != "running" && out != "degraded" {
			return fmt.Errorf("its systemd is %q (%w)", out, err)
		}
		return m.lab.greets(ctx, m.Addr)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	return nil
}
