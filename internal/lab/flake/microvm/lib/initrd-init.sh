#!/bin/busybox sh
# First process of a guest: Debian's userland, read-only from the host with a
# file system in memory above, and the store; then the system's own init.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do $bb insmod "$module"; done
init=
for word in $($bb cat /proc/cmdline); do
	case $word in
	init=*) init=${word#init=} ;;
	lab.store=*) store=${word#lab.store=} ;;
	esac
done
$bb mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose debian /lower || exec $bb sh
$bb mount -t tmpfs -o size=60%,mode=755 tmpfs /rw
$bb mkdir /rw/upper /rw/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new || exec $bb sh
case $store in
9p) $bb mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=65536 ro-store /new/nix/store ;;
virtiofs) $bb mount -t virtiofs -o ro ro-store /new/nix/store ;;
esac
for dir in proc sys dev; do $bb mount --move /$dir /new/$dir; done
$bb mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /new/run
exec $bb switch_root /new "$init"
