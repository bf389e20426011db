# Runs outside of the new root file system, whose directory is $1: what all
# machines of the lab have in common.
set -eu
root=$1
in_root() { chroot "$root" "$@"; }

# People: deploy may use sudo and the Nix daemon, admin needs a password for
# sudo, nosudo may nothing. What a host needs is for `ferry host setup`.
for user in deploy admin nosudo; do
	in_root useradd --create-home --shell /bin/bash "$user"
	in_root install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
done
in_root usermod --append --groups nix-users deploy
in_root usermod --append --groups nix-users admin
echo 'admin:ferrylab' | in_root chpasswd
# Without a valid password field sshd takes an account for locked.
in_root usermod --password '*' root
in_root usermod --password '*' deploy
in_root usermod --password '*' nosudo
printf '%s\n' 'deploy ALL=(ALL) NOPASSWD: ALL' 'admin ALL=(ALL) ALL' >"$root/etc/sudoers.d/lab"
chmod 440 "$root/etc/sudoers.d/lab"

install -d -m 700 "$root/root/.ssh"
rm -f "$root"/etc/ssh/ssh_host_*
# VERBOSE: tests count connections in the journal.
printf '%s\n' 'LogLevel VERBOSE' 'UseDNS no' 'PasswordAuthentication no' 'HostKey /etc/ssh/ssh_host_ed25519_key' \
	>"$root/etc/ssh/sshd_config.d/lab.conf"
# Three processes at each login, for a text that nobody reads.
rm -f "$root"/etc/update-motd.d/*
# Its first-boot job would make other host keys.
rm -f "$root/etc/systemd/system/multi-user.target.wants/sshd-keygen.service"

in_root systemctl --quiet enable systemd-networkd.service ssh.service
for unit in systemd-networkd-wait-online.service systemd-firstboot.service systemd-udevd.service \
	systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
	systemd-timesyncd.service console-getty.service getty.target getty@.service serial-getty@.service \
	container-getty@.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	fstrim.timer e2scrub_all.timer e2scrub_reap.service systemd-hwdb-update.service \
	systemd-journal-catalog-update.service systemd-update-utmp.service systemd-logind.service \
	ldconfig.service systemd-pcrphase.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
in_root systemctl --quiet set-default multi-user.target
# A journal that survives a container's restart.
install -d "$root/var/log/journal" "$root/etc/systemd/journald.conf.d"
printf '%s\n' '[Journal]' 'Storage=persistent' 'RateLimitIntervalSec=0' >"$root/etc/systemd/journald.conf.d/lab.conf"

# Nix makes these itself; guests mount them before Nix has run.
install -d -m 755 "$root/nix" "$root/nix/store" "$root/nix/var"
install -d "$root/srv/debian"

: >"$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
