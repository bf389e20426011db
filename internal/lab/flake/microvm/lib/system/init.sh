# Second stage of booting, for a QEMU guest and for a container guest.
system=@out@
if [ "${container-}" != systemd-nspawn ]; then
	export PATH=/usr/sbin:/usr/bin:/sbin:/bin
	# Readable by all where the host keeps them.
	chmod 600 /etc/ssh/ssh_host_ed25519_key
	chmod 640 /etc/shadow
	chmod 440 /etc/sudoers
	busybox ip link set lo up
	if [ -e "$system/etc/lab/address" ]; then
		read -r address <"$system/etc/lab/address"
		busybox ip addr add "$address/24" dev eth0
		busybox ip link set eth0 up
	fi
	# What boots slowly and is of no use here.
	for unit in systemd-networkd.service systemd-networkd.socket systemd-networkd-persistent-storage.service \
		systemd-network-generator.service modprobe@.service systemd-journal-flush.service \
		systemd-random-seed.service systemd-modules-load.service kmod-static-nodes.service \
		systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service systemd-remount-fs.service \
		systemd-user-sessions.service wtmpdb-update-boot.service dev-hugepages.mount dev-mqueue.mount \
		sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
		nix-daemon.socket nix-daemon.service; do
		ln -sf /dev/null "/etc/systemd/system/$unit"
	done
	for word in $(</proc/cmdline); do
		case $word in
		regInfo=*) "$system/sw/bin/nix-store" --load-db <"${word#regInfo=}" ;;
		esac
	done
fi
if [ ! -e "$system/etc/lab/sshd" ]; then
	ln -sf /dev/null /etc/systemd/system/ssh.service
fi
ln -sfn "$system" /run/booted-system
booting=1 "$system/activate"
exec /usr/lib/systemd/systemd "$@"
