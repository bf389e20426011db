// Package systemd is the one way in which ferry talks to a host's service manager and
// reads its journal. It owns the units that belong to a MicroVM, by name, and what
// their states mean; it must not know of links, deployments or who asks.
package systemd

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Manager talks to the host's service manager.
type Manager struct{ conn *dbus.Conn }

// Connect needs no D-Bus daemon: it uses systemd's own socket, which
// only root may.
func Connect(ctx context.Context) (*Manager, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return nil, hostapi.Refuse(fmt.Sprintf("systemd does not answer: %v", err), "a host runs MicroVMs by systemd and is driven as root")
	}
	return &Manager{conn: conn}, nil
}

// Close lets go of systemd.
func (s *Manager) Close() { s.conn.Close() }

// ConnectAny is Connect for somebody who need not be root: through the system's bus.
// Such a Manager can only look.
func ConnectAny(ctx context.Context) (*Manager, error) {
	if m, err := Connect(ctx); err == nil {
		return m, nil
	}
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("systemd does not answer: %w", err)
	}
	return &Manager{conn: conn}, nil
}

// Unit is what a probe reads of a VM's service, in one call.
type Unit struct {
	hostapi.UnitState
	workingDir string
	changed    time.Time // of its state
}

// Unit asks for one unit; one that does not exist is not an error.
func (s *Manager) Unit(ctx context.Context, name string) (Unit, error) {
	props, err := s.conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, fmt.Errorf("asking systemd about %s: %w", name, err)
	}
	str := func(k string) string { v, _ := props[k].(string); return v }
	u := Unit{workingDir: str("WorkingDirectory")}
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

// StateDir is the directory of all VMs that the unit template works in.
func (u Unit) StateDir(n microvm.Name) (string, bool) {
	dir := u.workingDir
	if !path.IsAbs(dir) || path.Base(dir) != string(n) {
		return "", false
	}
	return path.Dir(path.Clean(dir)), true
}

// TransientUnit is a service that ends by itself and leaves nothing.
type TransientUnit struct {
	Name, Description string
	Argv              []string // argv[0] is an absolute path
}

// Transient starts a service that is no file. It is started again where it is
// killed, and told nothing by the end of whoever started it.
func (s *Manager) Transient(ctx context.Context, u TransientUnit) error {
	done := make(chan string, 1)
	_, err := s.conn.StartTransientUnitContext(ctx, u.Name, "fail", []dbus.Property{
		dbus.PropDescription(u.Description),
		dbus.PropExecStart(u.Argv, false),
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
			return fmt.Errorf("%s: %s", u.Name, jobResult(result))
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ListedUnit is a unit as systemd's list of units shows it.
type ListedUnit struct {
	LoadState, ActiveState, SubState string
	Job                              string // "start", "stop"… waits; else empty
}

// List asks for the units that match, by name.
func (s *Manager) List(ctx context.Context, patterns ...string) (map[string]ListedUnit, error) {
	all, err := s.conn.ListUnitsByPatternsContext(ctx, nil, patterns)
	if err != nil {
		return nil, fmt.Errorf("asking systemd for its units: %w", err)
	}
	units := make(map[string]ListedUnit, len(all))
	for _, u := range all {
		units[u.Name] = ListedUnit{LoadState: u.LoadState, ActiveState: u.ActiveState, SubState: u.SubState, Job: u.JobType}
	}
	return units, nil
}

// Reload has systemd read its unit files again.
func (s *Manager) Reload(ctx context.Context) error {
	if err := s.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reloading systemd's units: %w", err)
	}
	return nil
}
