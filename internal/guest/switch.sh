# Switches this machine to a system of the store. Arguments: marker, system,
# action, deployment id, host name that must be ours, registration (a file,
# `-` for standard input, `runner:PATH` for the one that this runner names, or
# empty for none), seconds to wait for a confirmation once the switch has ended,
# seconds that the switch may take (0: any), the script that goes back (empty:
# none), a path that the host has just made in its store, which must be in ours
# (empty: none), and who switches, for others.
# The switch and the way back run in units of their own, with their output in
# files: they outlive the connection and never write into one.
set -eu
marker=$1 system=$2 action=$3 id=$4 want=$5 registration=$6 window=$7 limit=$8 rollback=$9 token=${10} by=${11}
dir=/run/ferry/$id profile=/nix/var/nix/profiles/system armed=
die() {
  if [ -n "$armed" ]; then
    oneline "$1" >"$dir/undo-now"
    tries=0
    while [ ! -s "$dir/undo.status" ] && [ "$tries" -lt 150 ]; do
      tries=$((tries + 1))
      nap
    done
  fi
  say refused "$1"
  exit 0
}
# Somebody else switches this machine: nothing of this attempt is left.
busy() {
  say locked "$1"
  exit 0
}
umask 077
name=
[ -r /etc/hostname ] && read -r name </etc/hostname
[ -n "$name" ] || name=$(uname -n)
[ -z "$want" ] || [ "$name" = "$want" ] || die "this machine is $name, not $want"
[ "$(id -u)" = 0 ] || die "not root"

# A share may need a moment to show what the host has just built, through a cache or
# below an overlay. All of it must be there before anything is touched: what the
# system is made of are links to elsewhere in the store.
visible() {
  [ -x "$system/bin/switch-to-configuration" ] || return 1
  for part in etc sw kernel-modules systemd; do
    [ ! -L "$system/$part" ] || [ -e "$system/$part" ] || return 1
  done
  case $registration in /*) [ -e "$registration" ] || return 1 ;; esac
}
# Who gives us our store is root here anyway; nobody else's word on what is in it
# counts. A share may need a moment to show what the host has just made.
tries=0
until [ -z "$token" ] || [ -e "$token" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 20 ] || die "this machine is not a guest of that host, or does not share its /nix/store: $token, which the host has just made, is not here"
  sleep 0.25 2>/dev/null || sleep 1
done
tries=0
until visible; do
  tries=$((tries + 1))
  if [ "$tries" -gt 20 ]; then
    [ -d "$system" ] || die "$system is not in this machine's store: the host's /nix/store is not shared here, or a cache or an overlay of the share hides what is new in it"
    die "$system is not whole in this machine's store (with what it links to and its registration): a cache or an overlay of the share hides what is new in it"
  fi
  sleep 0.25 2>/dev/null || sleep 1
done
mkdir -p /run/ferry
at guest-claim
started $$
take "$id:$$:$start:$by" || busy "${holder:-unknown}"
# What others have settled goes; what they have not must not be disturbed.
for other in /run/ferry/*; do
  [ -d "$other" ] && [ "$other" != "$dir" ] || continue
  ! undecided "$other" || busy "${other##*/}:::"
  [ -s "$other/status" ] || ! systemctl is-active --quiet "ferry-switch-${other##*/}" || continue
  rm -rf "$other"
done

case $registration in
  runner:*)
    registration=$(sed -n 's|.*regInfo=\(/nix/store/[A-Za-z0-9+._?=/-]*\).*|\1|p' "${registration#runner:}/bin/microvm-run" | head -n 1)
    [ -n "$registration" ] || say unregistered yes
    ;;
esac
at guest-register
if [ "$action" != dry-activate ] && [ -x "$system/sw/bin/nix-store" ]; then
  case $registration in
    '') ;;
    -) said=$("$system/sw/bin/nix-store" --load-db 2>&1) || die "the registration could not be loaded: $(oneline "$said")" ;;
    *) said=$("$system/sw/bin/nix-store" --load-db <"$registration" 2>&1) ||
      die "the registration $registration could not be loaded: $(oneline "$said")" ;;
  esac
fi

mkdir -p "$dir"
: >"$dir/log"
if [ "$action" != dry-activate ]; then
  # What it takes to go back, all before anything is touched.
  failed_units >"$dir/failed"
  if [ "$action" = switch ]; then
    readlink "$profile" >"$dir/profile" || :
    for link in "$profile"-*-link; do
      [ ! -L "$link" ] || printf '%s ' "${link##*/}"
    done >"$dir/generations"
  fi
  previous=$(readlink -f /run/current-system) || previous=
  clock
  printf '%s %s %s %s %s %s\n' "$system" "$action" "$window" "$limit" "$now" "$previous" >"$dir/note"
  at guest-arm
  if [ -n "$rollback" ]; then
    printf '%s' "$rollback" >"$dir/rollback.new"
    mv "$dir/rollback.new" "$dir/rollback"
    arm "$id" || die "the way back could not be armed"
    armed=yes
  fi
  [ ! -L "$dir/decided" ] || die "it was called off"
fi

at guest-profile
if [ "$action" = switch ] && [ -x "$system/sw/bin/nix-env" ]; then
  # Empty after a boot from a fresh root: without this there would be no way back.
  if [ ! -e "$profile" ] && [ -n "$previous" ]; then
    "$system/sw/bin/nix-env" -p "$profile" --set "$previous" 2>/dev/null || {
      # Not registered in this machine's database: the links do as well.
      mkdir -p "${profile%/*}"
      ln -sfn "$previous" "$profile-1-link"
      ln -sfn "${profile##*/}-1-link" "$profile"
    }
  fi
  said=$("$system/sw/bin/nix-env" -p "$profile" --set "$system" 2>&1) ||
    die "the system profile could not be set: $(oneline "$said")"
  if [ -n "$armed" ] && [ -L "$dir/decided" ]; then
    /bin/sh "$dir/rollback" "$id" profile
    die "it was called off"
  fi
fi

at guest-switch
systemd-run --quiet --collect --no-ask-password --unit="ferry-switch-$id" \
  --description="ferry: switch to $system" --property=TimeoutStopSec=20 --setenv=NIXOS_INSTALL_BOOTLOADER= \
  /bin/sh -c '[ ! -L "$3/decided" ] || exit 1
read -r up _ </proc/uptime && echo "${up%%.*}" >"$3/begun"
"$1/bin/switch-to-configuration" "$2" >"$3/log" 2>&1; echo $? >"$3/status"' \
  sh "$system" "$action" "$dir" || die "systemd-run failed"
say started "$id"
