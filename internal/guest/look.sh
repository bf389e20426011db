# Tells what this machine is. Arguments: marker, a store path to look for (or
# empty). Changes nothing.
marker=$1 probe=$2
name=
[ -r /etc/hostname ] && read -r name </etc/hostname
[ -n "$name" ] || name=$(uname -n)
say hostname "$name"
read -r boot </proc/sys/kernel/random/boot_id
say boot "$boot"
say uid "$(id -u)"
say current "$(readlink -f /run/current-system)"
say booted "$(readlink -f /run/booted-system)"
if [ -n "$probe" ] && [ -e "$probe" ]; then say store yes; else say store no; fi
command -v systemd-run >/dev/null || exit 0
say systemd yes
say failed "$(failed_units)"
for dir in /run/ferry/*; do
  [ -d "$dir" ] || continue
  undecided "$dir" && say armed "${dir##*/}"
  [ ! -s "$dir/status" ] && systemctl is-active --quiet "ferry-switch-${dir##*/}" && say switching "${dir##*/}"
done
exit 0
