package flake

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

const (
	cacheFormat   = 2   // of a cache file and of its key
	maxCacheFiles = 256 // the least recently used go first
)

// DefaultCacheDir is $XDG_CACHE_HOME/ferry, ~/.cache/ferry without it, and empty
// (no cache) where there is no home either.
func DefaultCacheDir() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ferry")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "ferry")
}

// facts are what the result of an evaluation depends on, apart from its options
// and the VM.
type facts struct {
	version  nix.Version
	metadata nix.Metadata
	settings map[string]json.RawMessage // nil: unknown
}

// key names the result of an evaluation; empty when it must not be cached.
//
// In pure evaluation a result depends on the locked flake and its inputs, on
// Nix and on its settings. Environment and files reach it only through settings
// (NIX_CONFIG, NIX_USER_CONF_FILES, nix.conf), which are taken as they are in
// force. All of them count: which ones matter is Nix's business, and they change
// seldom.
func (f *facts) key(options []string, name microvm.Name) string {
	if impure(options) || string(f.settings["pure-eval"]) != "true" || !f.metadata.Pinned() {
		return ""
	}
	sum := sha256.New()
	err := json.NewEncoder(sum).Encode(map[string]any{
		"format":     cacheFormat,
		"nix":        f.version.Text,
		"settings":   f.settings,
		"expression": recordExpression,
		"locked":     f.metadata.Locked,
		"locks":      f.metadata.Locks,
		"options":    options,
		"name":       name,
	})
	if err != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// impure reports whether the options may let the result depend on anything else.
// --option pure-eval true is taken for impure too: it costs a cache hit only.
func impure(options []string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		return slices.Contains([]string{"--impure", "--pure-eval", "--no-pure-eval", "pure-eval"}, o)
	})
}

// evalCache keeps one file for each key under dir/evaluations. Nothing about it is ever
// an error: it can only miss. An empty dir or key always misses.
type evalCache struct{ dir string }

type cacheFile struct {
	Format int             `json:"format"`
	Key    string          `json:"key"`
	Output json.RawMessage `json:"output"` // what record.nix yielded
	// Withheld are the VMs whose checks may contain a secret: Output lacks them.
	Withheld []string `json:"withheld,omitempty"`
}

func (c evalCache) path(key string) string {
	return filepath.Join(c.dir, "evaluations", key+".json")
}

// get is what was put, and the VMs whose checks it lacks.
func (c evalCache) get(key string) (output []byte, withheld []string) {
	if c.dir == "" || key == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.path(key))
	if err != nil {
		return nil, nil
	}
	var f cacheFile
	if json.Unmarshal(data, &f) != nil || f.Format != cacheFormat || f.Key != key {
		return nil, nil
	}
	now := time.Now()
	_ = os.Chtimes(c.path(key), now, now) // used just now: pruned last
	return f.Output, f.Withheld
}

func (c evalCache) put(key string, output []byte) {
	if c.dir == "" || key == "" {
		return
	}
	open, withheld, err := withoutSecrets(output)
	if err != nil {
		return
	}
	_ = os.RemoveAll(filepath.Join(c.dir, "eval")) // an older ferry's, which may have secrets
	data, err := json.Marshal(cacheFile{Format: cacheFormat, Key: key, Output: open, Withheld: withheld})
	if err != nil || os.MkdirAll(filepath.Dir(c.path(key)), 0o700) != nil {
		return
	}
	if renameio.WriteFile(c.path(key), data, 0o600) == nil {
		c.prune()
	}
}

// prune removes what is beyond maxCacheFiles, what was left of interrupted
// writes among it.
func (c evalCache) prune() {
	dir := filepath.Dir(c.path(""))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= maxCacheFiles {
		return
	}
	var files []fs.FileInfo
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range files[min(len(files), maxCacheFiles):] {
		_ = os.Remove(filepath.Join(dir, info.Name()))
	}
}

// allExist reports whether the files are still there: the store's garbage
// collector may have taken them since.
func allExist(drvs []microvm.StorePath) bool {
	return len(missing(drvs)) == 0
}

// missing are those of the files that are not there.
func missing(drvs []microvm.StorePath) []microvm.StorePath {
	return slices.DeleteFunc(slices.Clone(drvs), func(d microvm.StorePath) bool {
		info, err := os.Lstat(string(d))
		return err == nil && info.Mode().IsRegular()
	})
}
