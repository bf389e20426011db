package completion

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// place is a flake on this machine.
type place struct {
	ref string // for Nix, from any directory
	dir string // of flake.nix
}

var schemes = regexp.MustCompile(`^(path|git\+file):(//)?(/.*)$`)

// locate finds the flake that a reference names, as Nix does for a path: in the
// directory, or above it in the same repository. Flakes elsewhere are not asked,
// since that would use the network.
func locate(ref string) (place, bool) {
	if ref == "" {
		ref = "."
	}
	if strings.ContainsAny(ref, "?#") {
		return place{}, false
	}
	if m := schemes.FindStringSubmatch(ref); m != nil {
		return place{ref: ref, dir: m[3]}, hasFlake(m[3])
	}
	if !strings.HasPrefix(ref, "/") && !strings.HasPrefix(ref, ".") {
		return place{}, false // of the registry, or with another scheme
	}
	dir, err := filepath.Abs(ref)
	if err != nil {
		return place{}, false
	}
	for {
		if hasFlake(dir) {
			return place{ref: dir, dir: dir}, true
		}
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil || dir == filepath.Dir(dir) {
			return place{}, false
		}
		dir = filepath.Dir(dir)
	}
}

func hasFlake(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "flake.nix"))
	return err == nil && info.Mode().IsRegular()
}

// key names the place in the cache.
func (p place) key() string {
	sum := sha256.Sum256([]byte(p.ref))
	return hex.EncodeToString(sum[:16])
}

const maxEntries = 4000 // of a flake's directories are looked at: about 10 ms

// state tells whether the flake's files are as they were: names, sizes and times of
// its expressions and data. Of a tree with too many files only the flake's own two
// count, and what is in parts outside the directory does not count at all; both are
// found by the age of what is cached.
func (p place) state() string {
	sum := sha256.New()
	note := func(name string, info fs.FileInfo) {
		fmt.Fprintf(sum, "%s\x00%d\x00%d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	entries := 0
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if entries++; entries > maxEntries {
			return fs.ErrInvalid
		}
		switch {
		case err != nil && d != nil && d.IsDir():
			return fs.SkipDir // not ours to read; neither Nix's
		case err != nil:
			return nil
		case d.IsDir() && path != p.dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || !counts(d.Name()):
			return nil
		}
		if info, err := d.Info(); err == nil {
			note(path, info)
		}
		return nil
	})
	if err != nil {
		sum.Reset()
	}
	// Nix sees only what git knows: `git add` changes a flake without changing a file.
	if info, err := os.Stat(filepath.Join(p.dir, ".git", "index")); err == nil {
		note("index", info)
	}
	if err == nil {
		return hex.EncodeToString(sum.Sum(nil))
	}
	for _, name := range []string{"flake.nix", "flake.lock"} {
		if info, err := os.Stat(filepath.Join(p.dir, name)); err == nil {
			note(name, info)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// counts reports whether a file may hold names of VMs and hosts.
func counts(name string) bool {
	return slices.Contains([]string{".nix", ".lock", ".json", ".toml"}, filepath.Ext(name))
}
