# Switches this machine to a system of the store. Arguments: marker, system,
# action, deployment id, host name that must be ours, registration (a file,
# `-` for standard input, `runner:PATH` for the one that this runner names, or
# empty for none).
# The switch itself runs in a unit of its own, with its output in a file: it
# outlives the connection and never writes into one.
set -eu
PATH="$PATH:/run/current-system/sw/bin:/usr/bin:/bin"
marker=$1 system=$2 action=$3 id=$4 want=$5 registration=$6
die() { printf '%s refused=%s\n' "$marker" "$1"; exit 0; }
oneline() { printf %s "$1" | tr '\n' ' '; }
umask 077
name=
[ -r /etc/hostname ] && read -r name </etc/hostname
[ -n "$name" ] || name=$(uname -n)
[ -z "$want" ] || [ "$name" = "$want" ] || die "this machine is $name, not $want"
[ "$(id -u)" = 0 ] || die "not root"

# A share may need a moment to show what the host has just built.
tries=0
until [ -x "$system/bin/switch-to-configuration" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 20 ] || die "$system is not in this machine's store: the host's /nix/store is not shared here"
  sleep 0.25 2>/dev/null || sleep 1
done

case $registration in
  runner:*)
    registration=$(sed -n 's|.*regInfo=\(/nix/store/[A-Za-z0-9+._?=/-]*\).*|\1|p' "${registration#runner:}/bin/microvm-run" | head -n 1)
    [ -n "$registration" ] || printf '%s unregistered=yes\n' "$marker"
    ;;
esac
if [ "$action" != dry-activate ] && [ -x "$system/sw/bin/nix-store" ]; then
  case $registration in
    '') ;;
    -) said=$("$system/sw/bin/nix-store" --load-db 2>&1) || die "the registration could not be loaded: $(oneline "$said")" ;;
    *) said=$("$system/sw/bin/nix-store" --load-db <"$registration" 2>&1) ||
      die "the registration $registration could not be loaded: $(oneline "$said")" ;;
  esac
fi
if [ "$action" = switch ] && [ -x "$system/sw/bin/nix-env" ]; then
  profile=/nix/var/nix/profiles/system
  # Empty after a boot from a fresh root: without this there would be no way back.
  if [ ! -e "$profile" ] && [ -e /run/current-system ]; then
    now=$(readlink -f /run/current-system)
    "$system/sw/bin/nix-env" -p "$profile" --set "$now" 2>/dev/null || {
      # Not registered in this machine's database: the links do as well.
      mkdir -p "${profile%/*}"
      ln -sfn "$now" "$profile-1-link"
      ln -sfn "${profile##*/}-1-link" "$profile"
    }
  fi
  said=$("$system/sw/bin/nix-env" -p "$profile" --set "$system" 2>&1) ||
    die "the system profile could not be set: $(oneline "$said")"
fi

dir=/run/ferry/$id
mkdir -p "$dir"
: >"$dir/log"
systemd-run --quiet --collect --no-ask-password --unit="ferry-switch-$id" \
  --description="ferry: switch to $system" --setenv=NIXOS_INSTALL_BOOTLOADER= \
  /bin/sh -c '"$1/bin/switch-to-configuration" "$2" >"$3/log" 2>&1; echo $? >"$3/status"' \
  sh "$system" "$action" "$dir" || die "systemd-run failed"
printf '%s started=%s\n' "$marker" "$id"
