package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// maxHistoryBytes bounds what is read of a history: the end of the file, in bytes.
const maxHistoryBytes = 4 << 20

// everyEntry is the number of entries to read where all are wanted.
const everyEntry = math.MaxInt

// History reads at most last entries.
func (l Layout) History(n microvm.Name, last int) (hostapi.History, error) {
	h := hostapi.History{VM: n, Entries: []hostapi.HistoryEntry{}}
	f, err := os.Open(filepath.Join(l.libDir(n), noteHistory))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("reading the history of %s: %w", n, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return h, fmt.Errorf("reading the history of %s: %w", n, err)
	}
	from := max(0, fi.Size()-maxHistoryBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, from, maxHistoryBytes))
	if err != nil {
		return h, fmt.Errorf("reading the history of %s: %w", n, err)
	}
	if from > 0 { // the first line is cut
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	h.Entries, h.Broken = parseHistory(b, last)
	return h, nil
}

// parseHistory reads the last entries of a history and counts the broken lines
// among them.
func parseHistory(b []byte, last int) (entries []hostapi.HistoryEntry, broken int) {
	entries = []hostapi.HistoryEntry{}
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		var e hostapi.HistoryEntry
		if json.Unmarshal(line, &e) != nil || e.ID == "" {
			broken++
			continue
		}
		entries = append(entries, e)
	}
	return entries[max(0, len(entries)-max(0, last)):], broken
}
