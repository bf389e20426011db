# Decides that the switch ID stays, if this machine is well. Arguments: marker,
# deployment id (empty: after a boot, where nothing is to be decided), the system
# that must run (empty: any), `yes` to accept failed units, the units that had
# failed before (after a boot), and `yes` if a shell command that must succeed is on
# standard input: it may contain a secret, and arguments can be seen by everybody.
# Can be repeated: a decision is not taken twice.
set -uf
marker=$1 id=$2 system=$3 accept=$4 before=$5 command=$6
dir=/run/ferry/$id
newline='
'
refuse() {
  say refused "$1"
  exit 0
}
settled() {
  if [ "$(readlink "$dir/decided")" = confirm ]; then say confirmed yes; else say undone yes && tell_why "$dir"; fi
  exit 0
}
read -r boot </proc/sys/kernel/random/boot_id
say boot "$boot"
if [ -n "$id" ]; then
  [ -d "$dir" ] || refuse lost
  [ ! -L "$dir/decided" ] || settled
  [ -s "$dir/status" ] || refuse switching
  read -r before <"$dir/failed" || :
else
  systemctl is-system-running --wait >/dev/null 2>&1 || :
fi
current=$(readlink -f /run/current-system)
say current "$current"
[ -z "$system" ] || [ "$current" = "$system" ] || refuse system
if [ "$accept" != yes ]; then
  new=
  for unit in $(failed_units); do
    case " $before " in *" $unit "*) ;; *) new="$new$unit " ;; esac
  done
  [ -z "$new" ] || { say failed "$new" && refuse units; }
fi
if [ -n "$command" ]; then
  command=$(cat)
  # Only the end of what it says is kept, and its status behind that. The command is
  # a script to be read, so that it is no argument here either.
  output=$({ printf '%s\n' "$command" | /bin/sh /dev/fd/3 3<&0 2>&1 </dev/null; printf '\n%s' "$?"; } | tail -c 4096)
  code=${output##*"$newline"}
  printf '%s\n' "${output%"$newline"*}"
  [ "$code" = 0 ] || { say code "$code" && refuse command; }
fi
[ -n "$id" ] || { say confirmed yes && exit 0; }
at guest-confirm
claim "$dir" confirm || settled
[ ! -s "$dir/rollback" ] || systemctl stop "ferry-rollback-$id" 2>/dev/null || :
say confirmed yes
