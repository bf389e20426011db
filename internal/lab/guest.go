package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// systemFile holds the NixOS system that a container guest boots.
func (m *Machine) systemFile() string { return m.lab.path("machines", m.Name, "system") }

// BootGuest boots a container guest with a system of its host's store, as a VM
// would: the system's init runs as the first process, /run/booted-system,
// /run/current-system and /etc/hostname are the system's. It returns when the
// guest's systemd and sshd answer. The guest keeps its disk; Start and Reboot
// boot the same system again.
func (l *Lab) BootGuest(ctx context.Context, guest, systemPath string) error {
	m, err := l.Machine(guest)
	if err != nil {
		return err
	}
	if m.kind != kindGuest {
		return fmt.Errorf("%s is no container guest", guest)
	}
	if _, err := os.Stat(m.host.Path(systemPath + "/init")); err != nil {
		return fmt.Errorf("%s cannot boot %s: %w", guest, systemPath, err)
	}
	if err := m.Stop(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(m.systemFile(), []byte(systemPath+"\n"), 0o644); err != nil {
		return err
	}
	return m.Start(ctx)
}

// ensureGuestRoot prepares the tree that hosts offer their guests read-only as
// /srv/debian: the machines' common root file system with the guests' keys.
// QEMU reads it as user microvm, so everything in it is readable by all; the
// guest's init makes private again what has to be.
func (l *Lab) ensureGuestRoot(ctx context.Context) error {
	dir := l.path("guestroot")
	done := filepath.Join(dir, "done")
	if err := overlay(l.rootfs, dir); err != nil {
		return err
	}
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	m := &Machine{Name: "vm", lab: l, kind: kindGuest}
	key, _, err := l.key("vm")
	if err != nil {
		return err
	}
	files, err := m.loginFiles()
	if err != nil {
		return err
	}
	files = append(files,
		file{path: "/etc/hosts", content: l.hostsFile(), mode: 0o644},
		file{path: "/etc/ssh/ssh_host_ed25519_key", content: key, mode: 0o644},
		file{path: "/etc/nix/nix.conf", mode: 0o644, content: "experimental-features = nix-command flakes\nsandbox = false\nsubstituters =\nbuild-users-group =\n"},
	)
	if err := writeBelow(filepath.Join(dir, "root"), files); err != nil {
		return err
	}
	root := filepath.Join(dir, "root")
	if _, err := run(ctx, "find", root, "-xdev", "!", "-type", "l", "!", "-perm", "-o=r", "-exec", "chmod", "o+rX", "{}", "+"); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}
