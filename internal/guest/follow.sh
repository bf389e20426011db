# Prints the output of the switch ID from byte OFFSET on until it has ended,
# then its exit status. Arguments: marker, deployment id, offset.
set -eu
PATH="$PATH:/run/current-system/sw/bin:/usr/bin:/bin"
marker=$1 id=$2 offset=$3
dir=/run/ferry/$id
if [ ! -d "$dir" ]; then
  printf '%s status=unknown\n' "$marker"
  exit 0
fi
drain() {
  size=$(wc -c <"$dir/log")
  if [ "$size" -gt "$offset" ]; then
    tail -c "+$((offset + 1))" "$dir/log" | head -c "$((size - offset))"
    offset=$size
  fi
}
turns=0
while [ ! -s "$dir/status" ]; do
  drain
  turns=$((turns + 1))
  if [ $((turns % 10)) = 0 ] && ! systemctl is-active --quiet "ferry-switch-$id" && [ ! -s "$dir/status" ]; then
    drain
    printf '\n%s status=died\n' "$marker"
    exit 0
  fi
  sleep 0.2 2>/dev/null || sleep 1
done
drain
read -r status <"$dir/status"
printf '\n%s status=%s\n' "$marker" "$status"
