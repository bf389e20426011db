package runner

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"ferry/internal/microvm"
)

// bareStore is the store as a whole in a command, as 9p shares of it have it:
// `path=/nix/store,…`, `/nix/store:…`.
var bareStore = regexp.MustCompile(`(?:^|[\s=:,'"])` + microvm.StoreDir + `(?:[\s:,'"]|$)`)

// SharesStore reports whether the guest sees the host's store, as far as a runner of
// microvm.nix's shape tells: known is false where nothing does.
func (r Runner) SharesStore() (shares, known bool) {
	dir := r.File("share/microvm/virtiofs")
	entries, _ := os.ReadDir(dir) // a runner need not have it
	for _, e := range entries {
		source, err := ReadBounded(filepath.Join(dir, e.Name(), "source"), maxRefFile)
		if err == nil && strings.TrimSpace(string(source)) == microvm.StoreDir {
			return true, true
		}
	}
	run, err := ReadBounded(r.File("bin/microvm-run"), maxScript)
	if err != nil {
		return false, false
	}
	shared, disk := bareStore.Match(run), strings.Contains(string(run), "microvm-store-disk.")
	return shared, shared != disk
}
