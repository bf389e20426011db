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
type Manager struct{ bus *bus }

// Connect needs no D-Bus daemon: it uses systemd's own socket, which
// only root may.
func Connect(ctx context.Context) (*Manager, error) {
	b, err := dialed(func() (*dbus.Conn, error) { return dbus.NewSystemdConnectionContext(ctx) })
	if err != nil {
		return nil, hostapi.Refuse(fmt.Sprintf("systemd does not answer: %v", err), "a host runs MicroVMs by systemd and is driven as root")
	}
	return &Manager{bus: b}, nil
}

// Close lets go of systemd.
func (s *Manager) Close() { s.bus.close() }

// ConnectAny is Connect for somebody who need not be root: through the system's bus.
// Such a Manager can only look.
func ConnectAny(ctx context.Context) (*Manager, error) {
	if m, err := Connect(ctx); err == nil {
		return m, nil
	}
	b, err := dialed(func() (*dbus.Conn, error) { return dbus.NewSystemConnectionContext(ctx) })
	if err != nil {
		return nil, fmt.Errorf("systemd does not answer: %w", err)
	}
	return &Manager{bus: b}, nil
}

// Unit is what a probe reads of a VM's service, in one call.
type Unit struct {
	hostapi.UnitState
	workingDir string
	changed    time.Time // of its state
	queued     bool      // a job waits for it, or works on it
	notifies   bool      // it says itself when it is ready
}

// Unit asks for one unit; one that does not exist is not an error.
func (s *Manager) Unit(ctx context.Context, name string) (Unit, error) {
	props, err := s.Properties(ctx, name)
	if err != nil {
		return Unit{}, err
	}
	str := func(k string) string { v, _ := props[k].(string); return v }
	u := Unit{workingDir: str("WorkingDirectory"), queued: queued(props["Job"]), notifies: notifies(str("Type"))}
	u.LoadState, u.ActiveState, u.SubState, u.Result = str("LoadState"), str("ActiveState"), str("SubState"), str("Result")
	if u.ActiveState == "inactive" && u.queued {
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

// notifies: a unit of that type is active once it has said so (systemd.service(5)).
func notifies(kind string) bool { return kind == "notify" || kind == "notify-reload" }

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

// transientRestart is how long a transient service that was killed is down.
const transientRestart = time.Second

// Transient starts a service that is no file. It is started again where it is
// killed, however often, and told nothing by the end of whoever started it.
func (s *Manager) Transient(ctx context.Context, u TransientUnit) error {
	result, err := s.do(ctx, transientJob(u.Name, u.properties()))
	if err == nil && result != "done" {
		return fmt.Errorf("%s: %s", u.Name, jobResult(result))
	}
	return err
}

func (u TransientUnit) properties() []dbus.Property {
	return []dbus.Property{
		dbus.PropDescription(u.Description),
		dbus.PropExecStart(u.Argv, false),
		dbus.PropType("exec"),
		{Name: "Restart", Value: godbus.MakeVariant("on-abnormal")},
		{Name: "RestartUSec", Value: usec(transientRestart)},
		{Name: "StartLimitIntervalUSec", Value: usec(0)}, // no limit
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}
}

func usec(d time.Duration) godbus.Variant { return godbus.MakeVariant(uint64(d.Microseconds())) }

// ListedUnit is a unit as systemd's list of units shows it.
type ListedUnit struct {
	LoadState, ActiveState, SubState string
	Job                              string // "start", "stop"… waits; else empty
}

// List asks for the units that match, by name.
func (s *Manager) List(ctx context.Context, patterns ...string) (map[string]ListedUnit, error) {
	var all []dbus.UnitStatus
	err := s.bus.call(ctx, func(c *dbus.Conn) (err error) {
		all, err = c.ListUnitsByPatternsContext(ctx, nil, patterns)
		return err
	})
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
	if err := s.bus.call(ctx, func(c *dbus.Conn) error { return c.ReloadContext(ctx) }); err != nil {
		return fmt.Errorf("reloading systemd's units: %w", err)
	}
	return nil
}
