package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"ferry/internal/nix"
	"ferry/internal/systemd"
)

// system is what setup needs of a machine besides its files.
type system interface {
	systemdVersion() (string, error)
	nixVersion(ctx context.Context) (nix.Version, error)
	// fragment is the file that a unit is loaded from; empty: there is none.
	fragment(ctx context.Context, unit string) (string, error)
	// running names the VMs' units that are not stopped.
	running(ctx context.Context) ([]string, error)
	reload(ctx context.Context) error
	// forget stops microvms.target and drops what systemd remembers of units
	// that failed.
	forget(ctx context.Context) error
	hasGroup(name string) (bool, error)
	hasUser(name string) (bool, error)
	addGroup(ctx context.Context, name string) error
	addUser(ctx context.Context, name, group string) error
	removeUser(ctx context.Context, name string) error
	removeGroup(ctx context.Context, name string) error
	close()
}

// linux is a machine with systemd.
type linux struct{ units *systemd.Manager }

func connect(ctx context.Context) (*linux, error) {
	m, err := systemd.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &linux{units: m}, nil
}

func (l *linux) close() { l.units.Close() }

func (l *linux) systemdVersion() (string, error) { return l.units.Version() }

func (l *linux) nixVersion(ctx context.Context) (nix.Version, error) {
	return (&nix.Nix{}).Version(ctx)
}

func (l *linux) fragment(ctx context.Context, unit string) (string, error) {
	p, err := l.units.Properties(ctx, unit)
	path, _ := p["FragmentPath"].(string)
	return path, err
}

func (l *linux) running(ctx context.Context) ([]string, error) {
	units, err := l.units.List(ctx, "microvm@*.service")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(units)) {
		if state := units[name].ActiveState; state != "inactive" && state != "failed" {
			names = append(names, name)
		}
	}
	return names, nil
}

func (l *linux) reload(ctx context.Context) error { return l.units.Reload(ctx) }

func (l *linux) forget(ctx context.Context) error {
	units, err := l.units.List(ctx, "microvm*")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(units)) {
		switch u := units[name]; {
		case u.ActiveState == "failed":
			_ = l.units.ResetFailed(ctx, name)
		case u.ActiveState == "inactive" || u.LoadState != "loaded":
		default:
			if err := l.units.StopUnit(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasGroup asks getent, which also knows groups that are not in /etc/group.
func (l *linux) hasGroup(name string) (bool, error) { return getent("group", name) }
func (l *linux) hasUser(name string) (bool, error)  { return getent("passwd", name) }

// getent(1) ends with 2 where there is no such entry.
func getent(database, name string) (bool, error) {
	err := exec.Command("getent", database, name).Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for %s %s: %w", database, name, err)
	}
	return true, nil
}

func (l *linux) addGroup(ctx context.Context, name string) error {
	return run(ctx, "groupadd", "--system", name)
}

func (l *linux) addUser(ctx context.Context, name, group string) error {
	return run(ctx, "useradd", "--system", "--gid", group, "--no-create-home", "--home-dir", "/nonexistent",
		"--shell", "/usr/sbin/nologin", "--comment", "MicroVMs", name)
}

func (l *linux) removeUser(ctx context.Context, name string) error {
	return run(ctx, "userdel", name)
}

func (l *linux) removeGroup(ctx context.Context, name string) error {
	return run(ctx, "groupdel", name)
}

func run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
