package completion

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"ferry/internal/flake"
)

const (
	format   = 1 // of an entry
	maxBytes = 1 << 20
	maxFiles = 128 // the oldest go first; each flake has two
)

// cache keeps the names of flakes, one file for each.
type cache struct{ dir string }

// entry is a file of the cache.
type entry struct {
	Format int             `json:"format"`
	Ref    string          `json:"flake"`
	State  string          `json:"state"` // of the flake's files when it was evaluated
	Time   time.Time       `json:"time"`
	Failed bool            `json:"failed,omitempty"` // it could not be evaluated then
	Names  json.RawMessage `json:"names,omitempty"`  // what DecodeOutline reads

	names flake.Outline
}

func (c cache) path(p place, suffix string) string { return filepath.Join(c.dir, p.key()+suffix) }

// get is what is known of a flake; the names are checked as if they came from Nix.
func (c cache) get(p place) (entry, bool) {
	var e entry
	data, err := read(c.path(p, ".json"), maxBytes)
	if err != nil || json.Unmarshal(data, &e) != nil || e.Format != format || e.Ref != p.ref {
		return entry{}, false
	}
	if len(e.Names) > 0 {
		if e.names, err = flake.DecodeOutline(e.Names); err != nil {
			return entry{}, false
		}
	}
	return e, true
}

// read reads a file up to a limit. What is not a file, such as a pipe that nobody
// writes to, keeps nobody waiting.
func read(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

func (c cache) put(p place, e entry) error {
	e.Format, e.Ref, e.Time = format, p.ref, time.Now()
	data, err := json.Marshal(e)
	if err == nil && len(data) > maxBytes {
		e.Names, e.Failed = nil, true
		data, err = json.Marshal(e)
	}
	if err == nil {
		err = renameio.WriteFile(c.path(p, ".json"), data, 0o600, renameio.WithTempDir(c.dir))
	}
	c.prune()
	return err
}

// lock lets one process renew what is known of a flake. Where another does, unlock
// is nil.
func (c cache) lock(p place) (unlock func(), err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	l := flock.New(c.path(p, ".lock"))
	got, err := l.TryLock()
	if err != nil || !got {
		return nil, err
	}
	return func() { _ = l.Unlock() }, nil
}

// prune removes what is beyond maxFiles, what was left of interrupted writes among
// it.
func (c cache) prune() {
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) <= maxFiles {
		return
	}
	times := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			times[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int {
		return cmp.Or(times[b.Name()].Compare(times[a.Name()]), cmp.Compare(a.Name(), b.Name()))
	})
	for _, e := range entries[maxFiles:] {
		_ = os.Remove(filepath.Join(c.dir, e.Name()))
	}
}
