package nix

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ferry/internal/microvm"
)

// StoreInfo opens this machine's store, which fails where a daemon does not answer,
// and returns its URL as Nix writes it, such as `daemon` or `local`; empty where the
// answer can't be read.
func (n *Nix) StoreInfo(ctx context.Context) (url string, err error) {
	out, said, err := n.run(ctx, command{program: "nix", args: nixArgs("store", "info")})
	if err != nil {
		return "", err
	}
	for _, line := range append(strings.Split(string(out), "\n"), said...) { // by version, stdout or stderr
		if url, ok := strings.CutPrefix(strings.TrimSpace(plain(line)), "Store URL: "); ok {
			return url, nil
		}
	}
	return "", nil
}

// MayWrite reports whether this process may itself write the local store. Where the
// store is mounted read-only but Nix's database is not, root's Nix has ways of its own.
func MayWrite() bool {
	for _, dir := range []string{filepath.Join(filepath.Dir(microvm.StoreDir), "var/nix/db"), microvm.StoreDir} {
		if unix.Access(dir, unix.W_OK) != nil && (os.Geteuid() != 0 || dir != microvm.StoreDir) {
			return false
		}
	}
	return true
}
