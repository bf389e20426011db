package vmstate

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
	"slices"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/ui"
)

const (
	// maxHistoryBytes bounds what is read of a history: the end of the file, in bytes.
	maxHistoryBytes = 4 << 20
	// recentEntries is how many entries may be younger than one that is asked for.
	recentEntries = 100
	// everyEntry is the number of entries to read where all are wanted.
	everyEntry = math.MaxInt
)

// History is a VM's history, an entry a deployment.
type History struct{ vm VM }

func (h History) path() string { return filepath.Join(h.vm.lib(), noteHistory) }

// Read reads at most last entries.
func (h History) Read(last int) (hostapi.History, error) {
	found := hostapi.History{VM: h.vm.name, Entries: []hostapi.HistoryEntry{}}
	f, err := os.Open(h.path())
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("reading the history of %s: %w", h.vm.name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return found, fmt.Errorf("reading the history of %s: %w", h.vm.name, err)
	}
	from := max(0, fi.Size()-maxHistoryBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, from, maxHistoryBytes))
	if err != nil {
		return found, fmt.Errorf("reading the history of %s: %w", h.vm.name, err)
	}
	if from > 0 { // the first line is cut
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	found.Entries, found.Broken = parseHistory(b, last)
	return found, nil
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

// Append has the entry on disk when it returns. Secrets in the URL of the flake,
// and in what Nix said, are left out of it.
func (h History) Append(e hostapi.HistoryEntry) error {
	if err := os.MkdirAll(h.vm.lib(), 0o700); err != nil {
		return err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(h.path(), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", h.vm.name, err)
	}
	err = appendLine(f, ui.Redact(string(bytes.TrimSpace(b))))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = syncPath(h.vm.lib()) // the file may be new
	}
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", h.vm.name, err)
	}
	return nil
}

// appendLine writes a line wholly or not at all, as far as that can be had: a disk
// that is full takes only the beginning of one. Where a crash has left such a
// beginning, the line begins behind it.
func appendLine(f *os.File, line string) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	size := fi.Size()
	if last := []byte{'\n'}; size > 0 {
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(size))
	}
	return nil
}

// Entry finds a deployment among the last ones; nil where it has not ended.
func (h History) Entry(id string) *hostapi.HistoryEntry {
	found, err := h.Read(recentEntries)
	if err != nil {
		return nil
	}
	for i := range slices.Backward(found.Entries) {
		if found.Entries[i].ID == id {
			return &found.Entries[i]
		}
	}
	return nil
}

// Last is the last entry; nil where there is none.
func (h History) Last() *hostapi.HistoryEntry {
	found, err := h.Read(1)
	if err != nil || len(found.Entries) == 0 {
		return nil
	}
	return &found.Entries[len(found.Entries)-1]
}

// Undone is the runner of the VM's last deployment, and that one's id, where it
// was rolled back.
func (h History) Undone() (runner microvm.StorePath, id string) {
	found, err := h.Read(everyEntry)
	if err != nil {
		return "", ""
	}
	for _, e := range slices.Backward(found.Entries) {
		switch {
		case slices.Contains([]hostapi.Action{hostapi.ActionStart, hostapi.ActionStop, hostapi.ActionRestart}, e.Action):
		case e.Outcome == hostapi.OutcomeRolledBack:
			return e.Runner, e.ID
		default:
			return "", ""
		}
	}
	return "", ""
}

// BuildOf is the last build that brought a runner here; nil where none did, or
// none that says of which job it was.
func (h History) BuildOf(runner microvm.StorePath) *hostapi.JobBuild {
	found, err := h.Read(everyEntry)
	if err != nil {
		return nil
	}
	for _, e := range slices.Backward(found.Entries) {
		if e.Runner == runner && e.Job != "" && e.BuildID > 0 {
			return &hostapi.JobBuild{Job: e.Job, ID: e.BuildID}
		}
	}
	return nil
}

// Origin is the last deployment of a runner that says of which revision it is; nil
// where none does.
func (h History) Origin(runner microvm.StorePath) *hostapi.Deployment {
	found, err := h.Read(everyEntry)
	if err != nil {
		return nil
	}
	for _, e := range slices.Backward(found.Entries) {
		if e.Runner == runner && e.Revision != "" {
			return &e.Deployment
		}
	}
	return nil
}

// Target is the guest's address in the last deployment that knew it.
func (h History) Target() (target string, sudo bool) {
	found, err := h.Read(everyEntry)
	if err != nil {
		return "", false
	}
	for _, e := range found.Entries {
		if e.Target != "" {
			target, sudo = e.Target, e.TargetSudo
		}
	}
	return target, sudo
}
