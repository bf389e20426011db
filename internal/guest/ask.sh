# Tells who this machine is and what it runs, also to a login that is not root.
# Arguments: marker, a store path to look for (or empty). Changes nothing.
marker=$1 probe=$2
name=
[ -r /etc/hostname ] && read -r name </etc/hostname
[ -n "$name" ] || name=$(uname -n)
say hostname "$name"
read -r boot </proc/sys/kernel/random/boot_id
say boot "$boot"
say current "$(readlink -f /run/current-system)"
if [ -n "$probe" ] && [ -e "$probe" ]; then say store yes; else say store no; fi
exit 0
