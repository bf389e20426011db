package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// helpersStop bounds how long helper services may take to end after the VM.
const helpersStop = 90 * time.Second

// Stop has a VM's guest shut down, as long as the unit's own TimeoutStopSec lets
// it, stops the unit, and waits until the helper services have ended. The state is
// the unit's as it ended, before failures were reset: a Result of "timeout" is a
// guest that had to be killed.
func (s *Manager) Stop(ctx context.Context, n microvm.Name, log func(string)) (hostapi.UnitState, error) {
	began := time.Now()
	log("stopping " + n.Unit())
	shut, err := s.shutDown(ctx, n, log)
	if err != nil {
		return hostapi.UnitState{}, err
	}
	defer shut.done(ctx, log)
	j := stopJob(n.Unit(), func(sofar time.Duration) { log(fmt.Sprintf("the guest is still shutting down (%s)", sofar)) })
	result, err := s.do(shut.goesOn(ctx), j)
	var no refused
	switch {
	case errors.As(err, &no):
		return hostapi.UnitState{}, s.Failure(ctx, n, began, fmt.Sprintf("systemd refused to stop %s: %v", n.Unit(), err))
	case err != nil:
		return hostapi.UnitState{}, fmt.Errorf("waiting for %s to stop (systemd goes on with it): %w", n.Unit(), err)
	case result != "done":
		return hostapi.UnitState{}, s.Failure(ctx, n, began, fmt.Sprintf("stopping %s: the stop %s", n.Unit(), result))
	}
	ended, err := s.Unit(ctx, n.Unit())
	if err != nil {
		return hostapi.UnitState{}, err
	}
	if shut.killed != "" {
		ended.Result, ended.Killed = "timeout", shut.killed
	}
	return ended.UnitState, s.awaitHelpers(ctx, n, began)
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
				if err := s.ResetFailed(ctx, unit); err != nil {
					return err
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
	changes, err := s.disable(ctx, n.Unit())
	if err != nil {
		return fmt.Errorf("taking %s out of what starts with the machine: %w", n.Unit(), err)
	}
	if len(changes) == 0 {
		return nil
	}
	return s.Reload(ctx)
}
