//go:build faults

package guest

// The fault tests hold a script before one of its steps, as they hold the helper
// on the host: /run/ferry-hold in the guest, which only root can write, names the
// step; /run/ferry-held then says which process is held.
const holdScript = `at() {
  told=
  while [ -e /run/ferry-hold ] && read -r step </run/ferry-hold && [ "$step" = "$1" ]; do
    [ -n "$told" ] || echo "$1 $$" >/run/ferry-held
    told=yes
    sleep 0.1
  done
}
`
