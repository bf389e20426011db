package systemd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// helperUnits are the units a VM's service needs, in the order they start; each
// does something only where the runner has its script.
var helperUnits = [...]string{
	"install-microvm-%s.service",
	"microvm-set-booted@%s.service",
	"microvm-tap-interfaces@%s.service",
	"microvm-macvtap-interfaces@%s.service",
	"microvm-pci-devices@%s.service",
	"microvm-virtiofsd@%s.service",
}

// HelperUnits are the names of the units that a VM's service needs, in the order they
// start; the name need not be one that ferry manages.
func HelperUnits(name string) []string {
	var units []string
	for _, pattern := range helperUnits {
		units = append(units, fmt.Sprintf(pattern, name))
	}
	return units
}

// settleTime is how long a unit must stay up after systemd called it started: a
// service of Type=simple counts as started as soon as it is forked. One that has
// said itself that it is ready must only not be in a loop of restarts.
const (
	settleTime  = 2 * time.Second
	settleReady = 300 * time.Millisecond
)

// DeclaredBy names the unit by which the host's own NixOS configuration would
// link `current` again at its next rebuild; empty where there is none.
func (s *Manager) DeclaredBy(ctx context.Context, n microvm.Name) (string, error) {
	unit := "install-microvm-" + string(n) + ".service"
	props, err := s.Properties(ctx, unit)
	if err != nil {
		return "", err
	}
	if state, _ := props["LoadState"].(string); state != "loaded" {
		return "", nil
	}
	// a(sbbsi): type, trigger, negate, parameter, state
	conditions, _ := props["Conditions"].([][]any)
	for _, c := range conditions {
		if len(c) < 4 {
			continue
		}
		kind, _ := c[0].(string)
		negate, _ := c[2].(bool)
		if kind == "ConditionPathExists" && negate {
			return "", nil // installs only once: updates are the operator's
		}
	}
	return unit, nil
}

// Run starts or restarts a VM's unit and watches that it stays up. The guest that
// runs is shut down first. A failure names the helper service that is to blame and
// carries the end of its log.
func (s *Manager) Run(ctx context.Context, n microvm.Name, how hostapi.Activation, log func(string)) (hostapi.UnitState, error) {
	began := time.Now()
	verb := map[hostapi.Activation]string{hostapi.ActivateStart: "starting ", hostapi.ActivateRestart: "restarting "}[how]
	log(verb + n.Unit())
	shut, err := s.shutDown(ctx, n, log)
	if err != nil {
		return hostapi.UnitState{}, err
	}
	defer shut.done(ctx, log)
	// A restart also where the unit is down: after a start that failed, helper
	// services are up with the old runner, and a mere start leaves them so.
	// Starts that failed before must not count against this one.
	_ = s.ResetFailed(shut.goesOn(ctx), n.Unit())
	j := restartJob(n.Unit(), func(sofar time.Duration) { log(fmt.Sprintf("still %s%s (%s)", verb, n.Unit(), sofar)) })
	result, err := s.do(shut.goesOn(ctx), j)
	var no refused
	switch {
	case errors.As(err, &no):
		return hostapi.UnitState{}, s.Failure(ctx, n, began, fmt.Sprintf("systemd refused: %v", err))
	case err != nil:
		return hostapi.UnitState{}, fmt.Errorf("waiting for %s: %w", n.Unit(), err)
	case result != "done":
		return hostapi.UnitState{}, s.Failure(ctx, n, began, fmt.Sprintf("%s: %s", n.Unit(), jobResult(result)))
	}
	state, err := s.watch(ctx, n, began)
	state.Killed = shut.killed
	return state, err
}

func (s *Manager) watch(ctx context.Context, n microvm.Name, began time.Time) (hostapi.UnitState, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	up := time.Now()
	var first string
	for {
		u, err := s.Unit(ctx, n.Unit())
		if err != nil {
			return hostapi.UnitState{}, err
		}
		if first == "" {
			first = u.InvocationID
		}
		if !u.Up() || u.InvocationID != first {
			why := fmt.Sprintf("%s started but did not stay up: %s (%s), result %s", n.Unit(), u.ActiveState, u.SubState, u.Result)
			return u.UnitState, s.Failure(ctx, n, began, why)
		}
		if time.Since(up) > u.settles() {
			return u.UnitState, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return u.UnitState, ctx.Err()
		}
	}
}

// settles is how long the unit must stay up.
func (u Unit) settles() time.Duration {
	if u.notifies {
		return settleReady
	}
	return settleTime
}

// Failure blames the first helper service that failed, else the unit itself.
func (s *Manager) Failure(ctx context.Context, n microvm.Name, since time.Time, message string) *hostapi.Failure {
	blamed := n.Unit()
	for _, pattern := range helperUnits {
		unit := fmt.Sprintf(pattern, n)
		if u, err := s.Unit(ctx, unit); err == nil && u.failedSince(since) {
			blamed = unit
			message = fmt.Sprintf("%s, which %s needs, failed (%s)", unit, n.Unit(), u.Result)
			break
		}
	}
	return unitFailure(message, blamed, journal(ctx, blamed, since))
}

// noKVM is what hypervisors say where there is no hardware virtualisation for them:
// QEMU, cloud-hypervisor and firecracker, crosvm and kvmtool.
var noKVM = regexp.MustCompile(`(?i)could not access KVM|failed to initialize KVM|/dev/kvm|(open|creat|initializ)\w* (the )?KVM`)

// unitFailure says what is known of a unit that failed, by the end of its log.
func unitFailure(message, blamed string, log []string) *hostapi.Failure {
	f := &hostapi.Failure{Kind: hostapi.KindUnit, Message: message, Hint: "its whole log: journalctl -u " + blamed + " (on the host)", Log: log, See: trouble.UnitDown}
	if slices.ContainsFunc(log, noKVM.MatchString) {
		f.Hint = "the hypervisor can't use /dev/kvm there: `ls -l /dev/kvm` and `id microvm` on the host say why; the whole log: journalctl -u " + blamed
		f.See = trouble.NoKVM
	}
	return f
}

// failedSince reports whether the unit has ended badly since then. One with
// Restart= is not `failed` for that, but waits for its next try or was stopped.
func (u Unit) failedSince(t time.Time) bool {
	return u.LoadState == "loaded" && !u.Up() && u.Result != "" && u.Result != "success" &&
		!u.changed.Before(t.Add(-time.Second))
}

func jobResult(r string) string {
	switch r {
	case "dependency":
		return "a unit it needs failed"
	case "timeout":
		return "it did not start in time"
	case "skipped":
		return "its conditions do not hold: current/bin/microvm-run is missing"
	}
	return "the start " + r
}
