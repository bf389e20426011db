package nix

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ferry/internal/microvm"
)

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
