# Asks for the undo of the switch ID. Arguments: marker, deployment id, why. Can be
# repeated. Says `nothing` where there is nothing to undo, and sees to it that a
# switch whose start is still on its way finds itself called off.
set -eu
marker=$1 id=$2 why=$3
dir=/run/ferry/$id
umask 077
read -r boot </proc/sys/kernel/random/boot_id
say boot "$boot"
mkdir -p "$dir"
if [ -s "$dir/rollback" ]; then
  if [ -L "$dir/decided" ] && [ "$(readlink "$dir/decided")" = confirm ]; then
    say answer confirmed
    exit 0
  fi
  [ -s "$dir/undo-now" ] || oneline "$why" >"$dir/undo-now"
  [ -s "$dir/undo.status" ] || systemctl is-active --quiet "ferry-rollback-$id" || arm "$id" || :
  say answer undoing
elif claim "$dir" undo || [ "$(readlink "$dir/decided")" = undo ]; then
  say answer nothing
else
  say answer confirmed
fi
