package host

import (
	"context"
	"encoding/hex"
	"fmt"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// helperUnits are the units a VM's service needs, in the order they start; each
// does something only where the runner has its script.
var helperUnits = []string{
	"install-microvm-%s.service",
	"microvm-set-booted@%s.service",
	"microvm-tap-interfaces@%s.service",
	"microvm-macvtap-interfaces@%s.service",
	"microvm-pci-devices@%s.service",
	"microvm-virtiofsd@%s.service",
}

// settleTime is how long a unit must stay up after systemd called it started: a
// service of Type=simple counts as started as soon as it is forked.
const settleTime = 2 * time.Second

// systemd talks to the host's service manager.
type systemd struct{ conn *dbus.Conn }

// connectSystemd needs no D-Bus daemon: it uses systemd's own socket, which
// only root may.
func connectSystemd(ctx context.Context) (*systemd, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return nil, hostapi.Refuse(fmt.Sprintf("systemd does not answer: %v", err), "a host runs MicroVMs by systemd and is driven as root")
	}
	return &systemd{conn: conn}, nil
}

func (s *systemd) close() { s.conn.Close() }

// unitFacts is what a probe reads of a VM's service, in one call.
type unitFacts struct {
	hostapi.UnitState
	workingDir string
	changed    time.Time // of its state
}

func (s *systemd) unit(ctx context.Context, name string) (unitFacts, error) {
	props, err := s.conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return unitFacts{}, fmt.Errorf("asking systemd about %s: %w", name, err)
	}
	str := func(k string) string { v, _ := props[k].(string); return v }
	u := unitFacts{workingDir: str("WorkingDirectory")}
	u.LoadState, u.ActiveState, u.SubState, u.Result = str("LoadState"), str("ActiveState"), str("SubState"), str("Result")
	if u.ActiveState == "inactive" && queued(props["Job"]) {
		u.ActiveState, u.SubState = "activating", "queued"
	}
	if id, ok := props["InvocationID"].([]byte); ok {
		u.InvocationID = hex.EncodeToString(id)
	}
	u.Restarts, _ = props["NRestarts"].(uint32)
	if usec, _ := props["StateChangeTimestamp"].(uint64); usec > 0 {
		u.changed = time.UnixMicro(int64(usec))
	}
	if usec, _ := props["ActiveEnterTimestamp"].(uint64); usec > 0 {
		u.Since = time.UnixMicro(int64(usec))
	}
	return u, nil
}

// queued reports whether a job waits for the unit (id and object path, 0 for
// none). One that is down can only be about to start, as when it waits for its
// turn after a boot of the host: it was not stopped by anybody.
func queued(job any) bool {
	pair, _ := job.([]any)
	if len(pair) == 0 {
		return false
	}
	id, _ := pair[0].(uint32)
	return id != 0
}

// stateDir is the directory of all VMs that the unit template works in.
func (u unitFacts) stateDir(n microvm.Name) (string, bool) {
	dir := u.workingDir
	if !path.IsAbs(dir) || path.Base(dir) != string(n) {
		return "", false
	}
	return path.Dir(path.Clean(dir)), true
}

// declaredBy names the unit by which the host's own NixOS configuration would
// link `current` again at its next rebuild; empty where there is none.
func (s *systemd) declaredBy(ctx context.Context, n microvm.Name) (string, error) {
	unit := "install-microvm-" + string(n) + ".service"
	props, err := s.conn.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return "", fmt.Errorf("asking systemd about %s: %w", unit, err)
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

// run starts or restarts a VM's unit and watches that it stays up. A failure
// names the helper service that is to blame and carries the end of its log.
func (s *systemd) run(ctx context.Context, n microvm.Name, how hostapi.Activation, log func(string)) (hostapi.UnitState, error) {
	done := make(chan string, 1)
	began := time.Now()
	verb := map[hostapi.Activation]string{hostapi.ActivateStart: "starting ", hostapi.ActivateRestart: "restarting "}[how]
	log(verb + n.Unit())
	// A restart also where the unit is down: after a start that failed, helper
	// services are up with the old runner, and a mere start leaves them so.
	// Starts that failed before must not count against this one.
	_ = s.conn.ResetFailedUnitContext(ctx, n.Unit())
	if _, err := s.conn.RestartUnitContext(ctx, n.Unit(), "replace", done); err != nil {
		return hostapi.UnitState{}, s.failure(ctx, n, began, fmt.Sprintf("systemd refused: %v", err))
	}
	result, err := awaitJob(ctx, done, func(sofar time.Duration) { log(fmt.Sprintf("still %s%s (%s)", verb, n.Unit(), sofar)) })
	if err != nil {
		return hostapi.UnitState{}, fmt.Errorf("waiting for %s: %w", n.Unit(), err)
	}
	if result != "done" {
		return hostapi.UnitState{}, s.failure(ctx, n, began, fmt.Sprintf("%s: %s", n.Unit(), jobResult(result)))
	}
	return s.watch(ctx, n, began)
}

func (s *systemd) watch(ctx context.Context, n microvm.Name, began time.Time) (hostapi.UnitState, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(settleTime)
	var first string
	for {
		u, err := s.unit(ctx, n.Unit())
		if err != nil {
			return hostapi.UnitState{}, err
		}
		if first == "" {
			first = u.InvocationID
		}
		if !u.Up() || u.InvocationID != first {
			why := fmt.Sprintf("%s started but did not stay up: %s (%s), result %s", n.Unit(), u.ActiveState, u.SubState, u.Result)
			return u.UnitState, s.failure(ctx, n, began, why)
		}
		if time.Now().After(deadline) {
			return u.UnitState, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return u.UnitState, ctx.Err()
		}
	}
}

// failure blames the first helper service that failed, else the unit itself.
func (s *systemd) failure(ctx context.Context, n microvm.Name, since time.Time, message string) *hostapi.Failure {
	blamed := n.Unit()
	for _, pattern := range helperUnits {
		unit := fmt.Sprintf(pattern, n)
		if u, err := s.unit(ctx, unit); err == nil && u.failedSince(since) {
			blamed = unit
			message = fmt.Sprintf("%s, which %s needs, failed (%s)", unit, n.Unit(), u.Result)
			break
		}
	}
	return &hostapi.Failure{
		Kind: hostapi.KindUnit, Message: message,
		Hint: "see journalctl -u " + blamed,
		Log:  journal(ctx, blamed, since),
	}
}

// failedSince reports whether the unit has ended badly since then. One with
// Restart= is not `failed` for that, but waits for its next try or was stopped.
func (u unitFacts) failedSince(t time.Time) bool {
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

const journalLines = "25"

func journal(ctx context.Context, unit string, since time.Time) []string {
	cmd := exec.CommandContext(ctx, "journalctl", "--no-pager", "--quiet", "-o", "cat",
		"-u", unit, "-n", journalLines, fmt.Sprintf("--since=@%d", since.Unix()-1))
	out, err := cmd.Output()
	if err != nil {
		return []string{fmt.Sprintf("(the journal of %s cannot be read: %v)", unit, err)}
	}
	text := strings.TrimRight(string(out), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// transientUnit is a service that ends by itself and leaves nothing.
type transientUnit struct {
	name, description string
	argv              []string // argv[0] is an absolute path
}

// transient starts a service that is no file. It is started again where it is
// killed, and told nothing by the end of whoever started it.
func (s *systemd) transient(ctx context.Context, u transientUnit) error {
	done := make(chan string, 1)
	_, err := s.conn.StartTransientUnitContext(ctx, u.name, "fail", []dbus.Property{
		dbus.PropDescription(u.description),
		dbus.PropExecStart(u.argv, false),
		dbus.PropType("exec"),
		{Name: "Restart", Value: godbus.MakeVariant("on-abnormal")},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}, done)
	if err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%s: %s", u.name, jobResult(result))
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
