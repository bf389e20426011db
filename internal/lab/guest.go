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

// guestMasks are units of Debian that cost an emulated guest time (50 ms for
// each process) and do nothing for it. Its init sets up the network.
var guestMasks = [...]string{
	"systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-persistent-storage.service",
	"systemd-network-generator.service", "modprobe@.service", "systemd-journal-flush.service",
	"systemd-random-seed.service", "systemd-modules-load.service", "kmod-static-nodes.service",
	"systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup-dev-early.service",
	"systemd-tmpfiles-setup.service", "systemd-tmpfiles-clean.timer", "systemd-user-sessions.service",
	"systemd-remount-fs.service", "systemd-sysusers.service", "systemd-sysctl.service",
	"systemd-update-done.service", "systemd-hostnamed.socket", "systemd-sysext.socket", "systemd-creds.socket",
	"wtmpdb-update-boot.service", "dev-hugepages.mount", "dev-mqueue.mount", "run-lock.mount", "tmp.mount",
	"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount",
	"sys-kernel-config.mount", "proc-sys-fs-binfmt_misc.automount",
	"systemd-ask-password-console.path", "systemd-ask-password-wall.path",
	"nix-daemon.socket", "nix-daemon.service",
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
		// Without a second sshd process that only checks the configuration.
		file{path: "/etc/systemd/system/ssh.service.d/lab.conf", content: "[Service]\nExecStartPre=\n", mode: 0o644},
		file{path: "/etc/systemd/journald.conf.d/lab.conf", content: "[Journal]\nStorage=volatile\n", mode: 0o644},
		file{path: "/etc/ssh/ssh_host_ed25519_key", content: key, mode: 0o644},
		file{path: "/etc/nix/nix.conf", mode: 0o644, content: "experimental-features = nix-command flakes\nsandbox = false\nsubstituters =\nbuild-users-group =\n"},
	)
	root := filepath.Join(dir, "root")
	if err := writeBelow(root, files); err != nil {
		return err
	}
	for _, unit := range guestMasks {
		if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	generators := filepath.Join(root, "etc/systemd/system-generators")
	if err := os.MkdirAll(generators, 0o755); err != nil {
		return err
	}
	all, err := filepath.Glob(filepath.Join(root, "usr/lib/systemd/system-generators/*"))
	if err != nil {
		return err
	}
	for _, g := range all {
		if err := os.Symlink("/dev/null", filepath.Join(generators, filepath.Base(g))); err != nil && !os.IsExist(err) {
			return err
		}
	}
	if _, err := run(ctx, "find", root, "-xdev", "!", "-type", "l", "!", "-perm", "-o=r", "-exec", "chmod", "o+rX", "{}", "+"); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}
