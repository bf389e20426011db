# What the scripts share. A deployment ID has the directory /run/ferry/ID, root's
# alone; who decides on its switch claims it with one link, `decided`, whose
# target says how: confirm or undo. Builtins where they do: a process is
# expensive in an emulated guest.
PATH="$PATH:/run/current-system/sw/bin:/usr/bin:/bin"
say() { printf '%s %s=%s\n' "$marker" "$1" "$2"; }
oneline() { printf %s "$1" | tr '\n' ' '; }
nap() { sleep 0.2 2>/dev/null || sleep 1; }
# Sets now: seconds since boot, which nobody sets, and which pass during sleep.
clock() { read -r now _ </proc/uptime && now=${now%%.*}; }
# A link is made or it is not, and says at once who made it.
claim() { ln -s "$2" "$1/decided" 2>/dev/null; }
# Whether the way back of a switch still lies ahead, or is being gone.
undecided() {
  [ -s "$1/rollback" ] && [ -s "$1/note" ] && [ ! -s "$1/undo.status" ] && { [ ! -L "$1/decided" ] || [ "$(readlink "$1/decided")" != confirm ]; }
}
failed_units() {
  systemctl list-units --state=failed --plain --no-legend --full 2>/dev/null | while read -r unit _; do
    case $unit in ferry-*) ;; *) printf '%s ' "$unit" ;; esac
  done
}
# Starts the way back, which is a script in a file: killed, it is started again
# and goes on. Not a timer, which every daemon-reload would set back.
arm() {
  systemd-run --quiet --collect --no-ask-password --unit="ferry-rollback-$1" \
    --description="ferry: takes deployment $1 back unless it is confirmed" \
    --property=Restart=always --property=RestartSec=1 --property="RestartPreventExitStatus=0 2 127" --property=StartLimitIntervalSec=0 \
    --property=TimeoutStopSec=10 --property=OOMScoreAdjust=-900 --setenv=NIXOS_INSTALL_BOOTLOADER= \
    /bin/sh "/run/ferry/$1/rollback" "$1"
}
# Sets start: when the process $1 was started, in ticks since boot; empty: there is
# no such process.
started() {
  start=
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  # shellcheck disable=SC2086 # the words behind the name, which is in brackets
  set -- ${stat##*) }
  start=${20-}
}
# Whether the turn `ID:PID:START:BY` still counts: who took it lives, or one of the
# units does that outlive it.
counts() {
  turn=$1
  rest=${turn#*:}
  started "${rest%%:*}"
  rest=${rest#*:}
  [ -z "$start" ] || [ "$start" != "${rest%%:*}" ] || return 0
  [ -n "$(systemctl list-units --plain --no-legend --state=active,activating,reloading,deactivating \
    "ferry-switch-${turn%%:*}.service" "ferry-rollback-${turn%%:*}.service" 2>/dev/null)" ]
}
# Sets last: the number of the newest turn; 0: nobody has had one.
newest() {
  last=0
  for link in /run/ferry/turn-*; do
    [ ! -L "$link" ] || [ "${link##*-}" -le "$last" ] || last=${link##*-}
  done
}
# Takes the turn to switch this machine, for `ID:PID:START:BY`, or says with holder
# who has it. A turn is a link, made in one system call, with a number above the
# last one that doesn't count any more: nobody ever has to take away another's. The
# second look is for a process that stood still between its first and the link.
take() {
  holder= tries=0
  while [ "$tries" -lt 20 ]; do
    tries=$((tries + 1))
    newest
    if [ "$last" != 0 ]; then
      holder=$(readlink "/run/ferry/turn-$last") || continue
      if counts "$holder"; then return 1; fi
    fi
    own=$((last + 1))
    ln -s "$1" "/run/ferry/turn-$own" 2>/dev/null || continue
    newest
    if [ "$last" != "$own" ]; then
      rm -f "/run/ferry/turn-$own"
      continue
    fi
    for link in /run/ferry/turn-*; do
      [ "${link##*-}" -ge "$own" ] || rm -f "$link"
    done
    return 0
  done
  return 1
}
# Tells why the switch in the directory $1 was undone, if it was.
tell_why() {
  [ -s "$1/why" ] || return 0
  read -r reason <"$1/why"
  say why "$reason"
  tail -n +2 "$1/why"
}
