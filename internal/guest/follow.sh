# Prints the output of the switch ID, or of its undo, from byte OFFSET on until it
# has ended, then its exit status. Arguments: marker, deployment id, offset,
# `switch` or `undo`.
set -eu
marker=$1 id=$2 offset=$3 what=$4
dir=/run/ferry/$id
if [ "$what" = undo ]; then
  log=$dir/undo.log status=$dir/undo.status unit=ferry-rollback-$id
else
  log=$dir/log status=$dir/status unit=ferry-switch-$id
fi
drain() {
  [ -e "$log" ] || return 0
  size=$(wc -c <"$log")
  if [ "$size" -gt "$offset" ]; then
    tail -c "+$((offset + 1))" "$log" | head -c "$((size - offset))"
    offset=$size
  fi
}
end() {
  drain
  printf '\n'
  say status "$1"
  exit 0
}
[ -d "$dir" ] || end unknown
turns=0 gone=0
while [ ! -s "$status" ]; do
  [ "$what" != undo ] || [ ! -L "$dir/decided" ] || [ "$(readlink "$dir/decided")" = undo ] || end confirmed
  drain
  turns=$((turns + 1))
  [ $((turns % 25)) != 0 ] || printf '\n' >&2 # a sign of life
  # Twice: between two starts a unit is not active either.
  if [ $((turns % 5)) = 0 ]; then
    if systemctl is-active --quiet "$unit"; then gone=0; else gone=$((gone + 1)); fi
    [ "$gone" -lt 2 ] || [ -s "$status" ] || [ ! -e "$dir/overdue" ] || end overdue
    [ "$gone" -lt 2 ] || [ -s "$status" ] || end died
  fi
  nap
done
read -r said <"$status"
end "$said"
