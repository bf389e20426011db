# Tells how commands run here for whoever logs in. Argument: a marker. Changes nothing.
marker=$1
say() { printf '%s %s=%s\n' "$marker" "$1" "$2"; }
printf '\n'
LC_ALL=C
export LC_ALL
say uid "$(id -u)"
say user "$(id -un)"
say groups "$(id -Gn)"
say path "$PATH"
say nix "$(command -v nix)"
say daemon "$(command -v nix-daemon)"
if [ "$(id -u)" = 0 ]; then say sudo root
elif ! command -v sudo >/dev/null; then say sudo none
elif why=$(sudo -n -- sh -c : 2>&1); then say sudo quiet
else
  say sudo password
  say why "$(printf %s "$why" | tr '\n' ' ')"
fi
