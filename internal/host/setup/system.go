package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"ferry/internal/nix"
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
type linux struct{ conn *dbus.Conn }

func connect(ctx context.Context) (*linux, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return nil, refuse(fmt.Sprintf("systemd does not answer: %v", err), "a host runs its MicroVMs by systemd; other init systems are not supported")
	}
	return &linux{conn: conn}, nil
}

func (l *linux) close() { l.conn.Close() }

func (l *linux) systemdVersion() (string, error) {
	v, err := l.conn.GetManagerProperty("Version")
	if err != nil {
		return "", fmt.Errorf("asking systemd for its version: %w", err)
	}
	return strings.Trim(v, `"`), nil
}

func (l *linux) nixVersion(ctx context.Context) (nix.Version, error) {
	return (&nix.Nix{}).Version(ctx)
}

func (l *linux) fragment(ctx context.Context, unit string) (string, error) {
	p, err := l.conn.GetUnitPropertyContext(ctx, unit, "FragmentPath")
	if err != nil {
		return "", fmt.Errorf("asking systemd about %s: %w", unit, err)
	}
	path, _ := p.Value.Value().(string)
	return path, nil
}

func (l *linux) running(ctx context.Context) ([]string, error) {
	units, err := l.conn.ListUnitsByPatternsContext(ctx, nil, []string{"microvm@*.service"})
	if err != nil {
		return nil, fmt.Errorf("asking systemd for the VMs: %w", err)
	}
	var names []string
	for _, u := range units {
		if u.ActiveState != "inactive" && u.ActiveState != "failed" {
			names = append(names, u.Name)
		}
	}
	return names, nil
}

func (l *linux) reload(ctx context.Context) error {
	if err := l.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reloading systemd's units: %w", err)
	}
	return nil
}

func (l *linux) forget(ctx context.Context) error {
	units, err := l.conn.ListUnitsByPatternsContext(ctx, nil, []string{"microvm*"})
	if err != nil {
		return fmt.Errorf("asking systemd for the VMs' units: %w", err)
	}
	for _, u := range units {
		if u.ActiveState == "failed" {
			_ = l.conn.ResetFailedUnitContext(ctx, u.Name)
			continue
		}
		if u.ActiveState == "inactive" || u.LoadState != "loaded" {
			continue
		}
		if err := l.stop(ctx, u.Name); err != nil {
			return err
		}
	}
	return nil
}

const stopTimeout = time.Minute

func (l *linux) stop(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	done := make(chan string, 1)
	if _, err := l.conn.StopUnitContext(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("stopping %s: %w", unit, err)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping %s: %w", unit, ctx.Err())
	}
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
