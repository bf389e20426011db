//go:build lab

package remotetest

import (
	"os"
	"path/filepath"
	"testing"
)

// Password is what the fake sudo wants.
const Password = `pass 'word" \n$`

// fakeSudo behaves as sudo does with -n, -S, -k and -p: it reads the password a
// byte at a time and leaves the rest of the input alone. It fails on anything
// else. $MODE: quiet, password, stranger, nopasswd (a rule for the command:
// nothing is asked, though -n with `sh -c :` fails).
const fakeSudo = `#!/bin/bash
here=$(dirname "$0"); mode=$(cat "$here/mode"); echo "$*" >>"$here/calls"
n= S= k= p=unset
while [ $# -gt 0 ]; do
  case $1 in
    -n) n=1 ;; -S) S=1 ;; -k) k=1 ;; -p) p=$2; shift ;; --) shift; break ;;
    *) echo "fake sudo: unexpected $1" >&2; exit 99 ;;
  esac; shift
done
run() { FAKE_UID=0 exec "$@"; }
case $mode in
  quiet) run "$@" ;;
  nopasswd) [ "$*" = "sh -c :" ] && [ -n "$n" ] || run "$@" ;;
esac
[ -z "$n" ] || { echo "sudo: a password is required" >&2; exit 1; }
[ -n "$S" ] && [ -n "$k" ] && [ "$p" = "" ] || { echo "fake sudo: needs -S -k -p ''" >&2; exit 99; }
for try in 1 2 3; do
  IFS= read -r line || { echo "sudo: no password was provided" >&2; exit 1; }
  echo x >>"$here/attempts"
  if [ "$line" = "$(cat "$here/password")" ]; then
    [ "$mode" != stranger ] || { echo "op is not in the sudoers file." >&2; exit 1; }
    run "$@"
  fi
  echo "Sorry, try again." >&2
done
exit 1
`

const fakeID = `#!/bin/sh
[ "$*" = -u ] || { echo "fake id: unexpected $*" >&2; exit 99; }
echo ${FAKE_UID:-1000}
`

// SudoMachines runs a test on this machine (alias is empty) and behind ssh, where
// the user is not root and sudo is the fake one, of the given mode; its files are
// in dir.
func SudoMachines(t *testing.T, mode string, run func(t *testing.T, alias, dir string)) {
	for _, name := range []string{"local", "ssh"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"sudo": fakeSudo, "id": fakeID, "mode": mode, "password": Password} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			path := dir + ":/usr/bin:/bin"
			if name == "local" {
				t.Setenv("PATH", path)
				run(t, "", dir)
				return
			}
			Start(t, "SetEnv SHLVL=2 PATH="+path)
			run(t, Alias, dir)
		})
	}
}
