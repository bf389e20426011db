# The way back of one switch, in the unit ferry-rollback-ID. Arguments: deployment
# id, and `profile` to put back nothing but the system profile. Waits for the
# switch to end and then for a confirmation; without one in time, or when told to
# (undo-now), or when the switch was killed or takes longer than allowed, it goes
# back. Killed at any point and started again, it goes on: what it knows is in
# files.
set -u
id=$1 only=${2-}
dir=/run/ferry/$id profile=/nix/var/nix/profiles/system
read -r system action window limit armed previous <"$dir/note" || exit 0
PATH="$previous/sw/bin:/run/current-system/sw/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# A switch that was never begun is not waited for longer than this, in seconds.
begins=180
# So long may the way back take before the machine is booted instead, in seconds.
patience=900

# Returns when it is time to go back, or when somebody has decided.
wait_for_reason() {
  turns=0
  while [ ! -L "$dir/decided" ] && [ ! -e "$dir/undo-now" ]; do
    clock
    if [ -s "$dir/status" ]; then
      [ -s "$dir/deadline" ] || echo $((now + window)) >"$dir/deadline"
      read -r deadline <"$dir/deadline"
      [ "$now" -lt "$deadline" ] || return 0
    elif [ -s "$dir/begun" ]; then
      read -r begun <"$dir/begun"
      [ "$limit" = 0 ] || [ "$now" -lt $((begun + limit)) ] || { : >"$dir/overdue" && return 0; }
      turns=$((turns + 1))
      [ $((turns % 5)) != 0 ] || systemctl is-active --quiet "ferry-switch-$id" || [ -s "$dir/status" ] || return 0
    else
      [ "$now" -lt $((armed + begins)) ] || return 0
    fi
    sleep 1
  done
}

# Why the machine goes back, for whoever asks later: a line with the reason, then
# the end of what the switch has said.
note_why() {
  why="nobody confirmed it within $window s"
  if [ -s "$dir/undo-now" ]; then
    read -r why <"$dir/undo-now" || :
  elif [ -e "$dir/undo-now" ]; then
    why="it was called off"
  elif [ -e "$dir/overdue" ]; then
    why="the switch took longer than $limit s"
  elif [ ! -s "$dir/begun" ]; then
    why="the switch was never begun"
  elif [ ! -s "$dir/status" ]; then
    why="the switch was ended before it was done"
  fi
  if [ -s "$dir/status" ] && read -r status <"$dir/status" && [ "$status" != 0 ]; then
    why="$why; switch-to-configuration had ended with exit status $status"
  fi
  { printf '%s\n' "$why" && tail -n 15 "$dir/log"; } >"$dir/why.new" 2>/dev/null
  mv "$dir/why.new" "$dir/why"
}
# What has failed now and had not before the switch; systemd is asked for seconds
# at most.
note_failed() {
  before= new=
  [ ! -s "$dir/failed" ] || read -r before <"$dir/failed" || :
  for unit in $(SYSTEMD_BUS_TIMEOUT=10s failed_units); do
    case " $before " in *" $unit "*) ;; *) new="$new $unit" ;; esac
  done
  [ -z "$new" ] || echo "failed units:$new" >>"$dir/why"
}

# The links as they were; a generation that is neither the new system nor the one
# noted as the way back is somebody else's.
restore_profile() {
  [ -e "$dir/profile" ] || return 0
  was= generations=
  read -r was <"$dir/profile"
  read -r generations <"$dir/generations"
  if [ -z "$was" ]; then
    rm -f "$profile"
  elif [ "$(readlink "$profile")" != "$was" ]; then
    ln -sfn "$was" "$profile.ferry" && { mv -fT "$profile.ferry" "$profile" 2>/dev/null || { rm -f "$profile.ferry" && ln -sfn "$was" "$profile"; }; }
  fi
  for link in "$profile"-*-link; do
    case " $generations " in *" ${link##*/} "*) continue ;; esac
    case $(readlink "$link") in "$system" | "$previous") rm -f "$link" ;; esac
  done
}

# Sets code to the exit status of the previous system's switch-to-configuration.
switch_back() {
  rm -f "$dir/undo.code"
  { "$previous/bin/switch-to-configuration" "$action"; echo $? >"$dir/undo.code"; } &
  clock
  end=$((now + patience))
  until [ -s "$dir/undo.code" ]; do
    clock
    [ "$now" -lt "$end" ] || { code=124 && return 0; }
    nap
  done
  read -r code <"$dir/undo.code"
}

# Somebody else's switch may hold NixOS's lock for a moment.
go_back() {
  code=127
  [ -x "$previous/bin/switch-to-configuration" ] || { echo "ferry: $previous can't be switched to" && return 0; }
  tries=0
  while switch_back && [ "$code" = 1 ] && [ "$tries" -lt 5 ] && tail -n 3 "$dir/undo.log" | grep -qi 'acquire lock'; do
    tries=$((tries + 1))
    sleep 3
  done
  case $code in
    0 | 4) [ "$(readlink -f /run/current-system)" = "$previous" ] || { echo "ferry: the switch back left another system" && code=125; } ;;
  esac
}

# Units that only the undone system had, and that failed there, would be listed as
# `not-found failed` until the next boot. A second process only where there are
# any; systemd is asked for seconds at most.
forget_units() {
  before= gone=
  [ ! -s "$dir/failed" ] || read -r before <"$dir/failed" || :
  gone=$(SYSTEMD_BUS_TIMEOUT=10s systemctl list-units --state=failed --plain --no-legend --full 2>/dev/null | while read -r unit load _; do
    case "$load $before " in not-found*" $unit "*) ;; not-found*) printf '%s ' "$unit" ;; esac
  done)
  # shellcheck disable=SC2086 # the names of units, apart
  [ -z "$gone" ] || SYSTEMD_BUS_TIMEOUT=10s systemctl reset-failed -- $gone || :
}

if [ "$only" = profile ]; then
  restore_profile
  exit 0
fi
wait_for_reason
[ -s "$dir/why" ] || note_why
claim "$dir" undo || [ "$(readlink "$dir/decided")" = undo ] || exit 0
[ ! -s "$dir/undo.status" ] || exit 0
exec >>"$dir/undo.log" 2>&1
grep -q '^failed units:' "$dir/why" 2>/dev/null || note_failed
at guest-undo
# It may hold NixOS's lock; and a switch that is yet to begin sees the decision.
systemctl stop "ferry-switch-$id" 2>/dev/null
at guest-undo-profile
restore_profile
code=0
if [ -s "$dir/begun" ]; then
  at guest-undo-switch
  go_back
fi
case $code in
  0 | 4)
    [ ! -s "$dir/begun" ] || forget_units
    echo "$code" >"$dir/undo.status"
    ;;
  *)
    echo "ferry: going back ended with status $code; booting instead"
    echo reboot >"$dir/undo.status"
    sleep 1 # so that those who follow this hear of it
    systemctl reboot || systemctl reboot --force
    ;;
esac
exit 0
