package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// unpackEmulator fetches Debian's qemu-user into $1 and leaves $1/qemu-aarch64,
// static. Before Debian 13 it is in a package of another name.
const unpackEmulator = `cd "$1"
for package in qemu-user-static qemu-user; do
  apt-get -q download "$package" || { apt-get -q update; apt-get -q download "$package"; }
  dpkg-deb --fsys-tarfile ./"$package"_*.deb | tar -x --wildcards './usr/bin/qemu-aarch64*' || continue
  for program in usr/bin/qemu-aarch64-static usr/bin/qemu-aarch64; do
    if [ -f "$program" ] && [ ! -L "$program" ]; then
      mv "$program" qemu-aarch64
      rm -rf usr ./*.deb
      exit 0
    fi
  done
done
echo "no package of Debian has qemu-aarch64" >&2
exit 1
`

// ARM64Emulator is a program on this machine that runs programs for arm64 here,
// static so that it works in every machine of the lab. Debian's is fetched once and
// cached; this machine's kernel hears nothing of it.
func (l *Lab) ARM64Emulator(ctx context.Context) (string, error) {
	unlock, err := l.lockCache(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(l.cache, "qemu-user")
	program := filepath.Join(dir, "qemu-aarch64")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	tmp := dir + ".tmp"
	if err := errors.Join(removeTree(tmp), removeTree(dir), os.MkdirAll(tmp, 0o755)); err != nil {
		return "", err
	}
	if _, err := run(ctx, "sh", "-euc", unpackEmulator, "sh", tmp); err != nil {
		return "", errors.Join(fmt.Errorf("fetching qemu-user: %w", err), removeTree(tmp))
	}
	return program, os.Rename(tmp, dir)
}
