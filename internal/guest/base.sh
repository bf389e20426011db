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
