# Usage and exit statuses as NixOS's: 0 done, 1 refused, 2 activation failed,
# 4 units failed.
system=@out@
PATH=/usr/sbin:/usr/bin:/sbin:/bin
action=${1-}
case $action in
switch | boot | test | dry-activate) ;;
*)
	echo "Usage: $0 [switch|boot|test|dry-activate]" >&2
	exit 1
	;;
esac
[ "$(id -u)" = 0 ] || { echo "switch-to-configuration: must be root" >&2; exit 1; }

mkdir -p /run/nixos
exec 9>/run/nixos/switch-to-configuration.lock
if ! flock --nonblock 9; then
	echo "Could not acquire lock" >&2
	exit 1
fi
# NixOS's check before a switch, with its words: names that both systems have, with
# another value.
inhibitors() {
	local file=$1/switch-inhibitors
	[ ! -f "$file" ] || sed -n 's/^ *"\([^"]*\)": "\([^"]*\)",\{0,1\}$/\1 \2/p' "$file"
}
inhibited() {
	local name value
	while read -r name value; do
		while read -r other is; do
			[ "$other" != "$name" ] || [ "$is" = "$value" ] || echo "$name : $value -> $is"
		done <<<"$(inhibitors "$system")"
	done <<<"$(inhibitors /run/current-system)"
}
case $action in
switch | test)
	echo -n "Checking switch inhibitors..." >&2
	differ=$(inhibited)
	if [ -n "$differ" ] && [ "${NIXOS_NO_CHECK-}" != 1 ]; then
		cat >&2 <<-END

			There are changes to critical components of the system:

			$differ

			Switching into this system is not recommended.
			You probably want to run 'nixos-rebuild boot' and reboot your system instead.

			Pre-switch check 'switchInhibitors' failed
			Pre-switch checks failed
		END
		exit 1
	fi
	echo " done" >&2
	;;
esac

# The bootloader would come here; a MicroVM has none.
[ "$action" != boot ] || exit 0

old=$(readlink -f /run/current-system)
stop=() restart=() start=() own=()
for unit in "$old"/etc/systemd/system/*.service; do
	name=${unit##*/}
	[ -e "$unit" ] || continue
	if [ ! -e "$system/etc/systemd/system/$name" ]; then
		stop+=("$name")
	elif ! cmp -s "$unit" "$system/etc/systemd/system/$name"; then
		restart+=("$name")
	fi
done
for unit in "$system"/etc/systemd/system/*.service; do
	name=${unit##*/}
	[ -e "$unit" ] || continue
	own+=("$name")
	[ -e "$old/etc/systemd/system/$name" ] || start+=("$name")
done

if [ "$action" = dry-activate ]; then
	[ ${#stop[@]} = 0 ] || echo "would stop the following units: ${stop[*]}" >&2
	echo "would activate the configuration..." >&2
	[ ${#restart[@]} = 0 ] || echo "would restart the following units: ${restart[*]}" >&2
	[ ${#start[@]} = 0 ] || echo "would start the following units: ${start[*]}" >&2
	exit 0
fi

status=0
if [ ${#stop[@]} != 0 ]; then
	echo "stopping the following units: ${stop[*]}" >&2
	systemctl stop -- "${stop[@]}" 9>&-
fi
echo "activating the configuration..." >&2
"$system/activate" >&2 9>&- || status=2
sleep @sleep@ 9>&-
if [ "$status" = 0 ]; then
	systemctl daemon-reload 9>&- || status=3
	if [ ${#restart[@]} != 0 ]; then
		echo "restarting the following units: ${restart[*]}" >&2
		systemctl restart -- "${restart[@]}" 9>&- || status=4
	fi
	if [ ${#start[@]} != 0 ]; then
		echo "starting the following units: ${start[*]}" >&2
		systemctl start -- "${start[@]}" 9>&- || status=4
	fi
fi
# As NixOS's: units that failed before and were not touched count as well.
if [ "$status" = 0 ] && [ ${#own[@]} != 0 ] && systemctl is-failed --quiet -- "${own[@]}" 9>&-; then
	status=4
fi
if [ "$status" = 4 ]; then
	failed=$(systemctl list-units --failed --plain --no-legend 9>&- | cut -d' ' -f1 | tr '\n' ' ')
	echo "warning: the following units failed: $failed" >&2
fi
exit $status
