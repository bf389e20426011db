# Tells what a live switch would meet here, also to a login that is not root.
# Arguments: marker, a store path to look for (or empty). Changes nothing.
marker=$1 probe=$2
name=
[ -r /etc/hostname ] && read -r name </etc/hostname
[ -n "$name" ] || name=$(uname -n)
say hostname "$name"
read -r boot </proc/sys/kernel/random/boot_id
say boot "$boot"
clock
say up "$now"
say now "$(date +%s)"
system=$(readlink -f /run/current-system)
say current "$system"
if [ -n "$probe" ] && [ -e "$probe" ]; then say store yes; else say store no; fi
[ -n "$system" ] && [ -x "$system/bin/switch-to-configuration" ] && say switch yes
command -v nix-store >/dev/null && say nixstore yes
command -v systemd-run >/dev/null || exit 0
say systemd yes
say failed "$(failed_units)"
for dir in /run/ferry/*; do
  [ -d "$dir" ] || continue
  undecided "$dir" && say armed "${dir##*/}"
done
exit 0
