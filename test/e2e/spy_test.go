//go:build lab

package e2e

import (
	"context"
	"testing"

	"ferry/internal/lab"
)

// spyOnNix puts a program before each of Nix's that notes its call, until the
// returned function is called, which tells the calls.
func spyOnNix(t *testing.T, m *lab.Machine) func() string {
	t.Helper()
	const begin = `set -e
rm -f /run/nix-spy; mkdir -p /run/nix-spy-bin
for p in nix nix-store nix-env nix-build nix-daemon nix-collect-garbage; do
  printf '#!/bin/sh\necho "%s $*" >>/run/nix-spy\nexec /run/nix-real/%s "$@"\n' "$p" "$p" >/run/nix-spy-bin/$p
  chmod 755 /run/nix-spy-bin/$p
done
mkdir -p /run/nix-real
for p in nix nix-store nix-env nix-build nix-daemon nix-collect-garbage; do
  cp -a /usr/bin/$p /run/nix-real/$p
done
for p in nix nix-store nix-env nix-build nix-daemon nix-collect-garbage; do
  rm /usr/bin/$p; cp /run/nix-spy-bin/$p /usr/bin/$p
done`
	const end = `[ -d /run/nix-real ] || exit 0
for p in nix nix-store nix-env nix-build nix-daemon nix-collect-garbage; do
  rm -f /usr/bin/$p; cp -a /run/nix-real/$p /usr/bin/$p
done
rm -rf /run/nix-real /run/nix-spy-bin
cat /run/nix-spy 2>/dev/null || :`
	output(t, m, "sh", "-c", begin)
	t.Cleanup(func() { _, _ = m.Output(context.WithoutCancel(t.Context()), "sh", "-c", end) })
	return func() string { t.Helper(); return output(t, m, "sh", "-c", end) }
}
