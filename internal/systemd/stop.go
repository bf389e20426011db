package systemd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	// stopReport is how often a stop that takes its time says so.
	stopReport = 10 * time.Second
	// helpersStop bounds how long helper services may take to end after the VM.
	helpersStop = 90 * time.Second
)

// stop stops a VM's unit and waits until the guest has shut down, as long as
// the unit's own TimeoutStopSec lets it, and until the helper services have
// ended. The state is the unit's as it ended, before failures were reset: a
// Result of "timeout" is a guest that had to be killed.
func (s *Manager) Stop(ctx context.Context, n microvm.Name, log func(string)) (hostapi.UnitState, error) {
	began := time.Now()
	log("stopping " + n.Unit())
	done := make(chan string, 1)
	if _, err := s.conn.StopUnitContext(ctx, n.Unit(), "replace", done); err != nil {
		return hostapi.UnitState{}, s.Failure(ctx, n, began, fmt.Sprintf("systemd refused to stop %s: %v", n.Unit(), err))
	}
	result, err := awaitJob(ctx, done, func(sofar time.Duration) { log(fmt.Sprintf("the guest is still shutting down (%s)", sofar)) })
	if err != nil {
		return hostapi.UnitState{}, fmt.Errorf("waiting for %s to stop (systemd goes on with it): %w", n.Unit(), err)
	}
	if result != "done" {
		return hostapi.UnitState{}, s.Failure(ctx, n, began, fmt.Sprintf("stopping %s: the stop %s", n.Unit(), result))
	}
	ended, err := s.Unit(ctx, n.Unit())
	if err != nil {
		return hostapi.UnitState{}, err
	}
	return ended.UnitState, s.awaitHelpers(ctx, n, began)
}

// awaitJob waits for a job of systemd and says now and then how long already.
func awaitJob(ctx context.Context, done <-chan string, say func(sofar time.Duration)) (result string, err error) {
	began := time.Now()
	tick := time.NewTicker(stopReport)
	defer tick.Stop()
	for {
		select {
		case result := <-done:
			return result, nil
		case <-tick.C:
			say(time.Since(began).Round(time.Second))
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// awaitHelpers waits until a stopped VM's helper services have ended, and
// forgets their failures and the VM's: what is stopped on purpose has not failed.
func (s *Manager) awaitHelpers(ctx context.Context, n microvm.Name, began time.Time) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(helpersStop)
	for {
		var busy, failed []string
		for _, unit := range append(helpersOf(n), n.Unit()) {
			u, err := s.Unit(ctx, unit)
			switch {
			case err != nil:
				return err
			case u.ActiveState == "failed":
				failed = append(failed, unit)
			case u.ActiveState != "inactive":
				busy = append(busy, unit)
			}
		}
		if len(busy) == 0 {
			for _, unit := range failed {
				if err := s.conn.ResetFailedUnitContext(ctx, unit); err != nil {
					return fmt.Errorf("forgetting the failure of %s: %w", unit, err)
				}
			}
			return nil
		}
		if time.Now().After(deadline) {
			return &hostapi.Failure{
				Kind: hostapi.KindUnit, Message: fmt.Sprintf("%s has stopped, but not %s", n.Unit(), strings.Join(busy, ", ")),
				Hint: "see journalctl -u " + busy[0], Log: journal(ctx, busy[0], began),
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// helpersOf are the helper services of a VM that its own unit starts. The one
// that installs a VM which the host declares is left alone.
func helpersOf(n microvm.Name) []string {
	var units []string
	for _, pattern := range helperUnits {
		if !strings.HasPrefix(pattern, "install-") {
			units = append(units, fmt.Sprintf(pattern, n))
		}
	}
	slices.Reverse(units)
	return units
}

// disable takes the VM out of what starts with the machine, whatever put it
// there with links that systemd keeps in /etc.
func (s *Manager) Disable(ctx context.Context, n microvm.Name) error {
	changes, err := s.conn.DisableUnitFilesContext(ctx, []string{n.Unit()}, false)
	if err != nil {
		return fmt.Errorf("taking %s out of what starts with the machine: %w", n.Unit(), err)
	}
	if len(changes) == 0 {
		return nil
	}
	if err := s.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reloading systemd: %w", err)
	}
	return nil
}
