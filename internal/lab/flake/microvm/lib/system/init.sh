# Second stage of booting, for a QEMU guest and for a container guest.
system=@out@
if [ "${container-}" != systemd-nspawn ]; then
	export PATH=/usr/sbin:/usr/bin:/sbin:/bin
	# Readable by all where the host keeps them.
	chmod 600 /etc/ssh/ssh_host_ed25519_key /etc/shadow
	chmod 440 /etc/sudoers /etc/sudoers.d/lab
	if [ -e "$system/etc/lab/address" ]; then
		read -r address <"$system/etc/lab/address"
		printf '%s\n' "link set lo up" "addr add $address/24 dev eth0" "link set eth0 up" | ip -batch -
	fi
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
