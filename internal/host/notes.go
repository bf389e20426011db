package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/ui"
)

// Ferry's own notes on a VM live in Layout.Lib, which only root can read: what
// a live-switched guest runs, the records of its runners, its history.

const (
	noteRunning    = "running.json"
	noteToStart    = "to-start.json" // the time at which ferry wanted the VM up
	noteHistory    = "history.jsonl"
	noteRecords    = "records"
	noteDeployment = "deployment.json"
	noteUnsure     = "unsure.json" // a live switch that nobody saw the end of
)

// runningNote says what system a guest runs since a live switch. It holds only
// for that start of the unit: after a restart the guest runs what it booted.
type runningNote struct {
	InvocationID string            `json:"invocationId"`
	System       microvm.StorePath `json:"system"`
	Failed       bool              `json:"failed,omitempty"` // the switch to it did
}

func (l Layout) readNote(n microvm.Name, name string, v any) error {
	b, err := os.ReadFile(filepath.Join(l.libDir(n), name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading %s of %s: %w", name, n, err)
	}
	return nil
}

func (l Layout) writeNote(n microvm.Name, name string, v any) error {
	dir := filepath.Dir(filepath.Join(l.libDir(n), name))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making ferry's directory for %s: %w", n, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(dir, filepath.Base(name), append(b, '\n'), 0o600)
}

func (l Layout) dropNote(n microvm.Name, name string) error {
	err := os.Remove(filepath.Join(l.libDir(n), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// record returns the evaluated record of a runner, or nil where ferry has none.
func (l Layout) record(n microvm.Name, runner microvm.StorePath) *microvm.Record {
	if runner == "" {
		return nil
	}
	var r microvm.Record
	if l.readNote(n, recordName(runner), &r) != nil {
		return nil
	}
	return &r
}

func recordName(runner microvm.StorePath) string {
	return filepath.Join(noteRecords, filepath.Base(string(runner))+".json")
}

// appendHistory has the entry on disk when it returns. Secrets in the URL of the
// flake, and in what Nix said, are left out of it.
func (l Layout) appendHistory(n microvm.Name, e hostapi.HistoryEntry) error {
	if err := os.MkdirAll(l.libDir(n), 0o700); err != nil {
		return err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(l.libDir(n), noteHistory), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", n, err)
	}
	_, err = f.WriteString(ui.Redact(string(bytes.TrimSpace(b))) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = syncPath(l.libDir(n)) // the file may be new
	}
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", n, err)
	}
	return nil
}

// unsureNote is what an interrupted live switch may have left running, in the
// start of the unit that it happened in. The root `interrupted` keeps it until
// the guest was seen or the VM has booted again.
type unsureNote struct {
	InvocationID string            `json:"invocationId"`
	Runner       microvm.StorePath `json:"runner"`
}

// unsure reports whether the last live switch in this start of the unit was
// interrupted, and not settled since.
func (l Layout) unsure(n microvm.Name, invocation string) bool {
	var left unfinished
	if l.readNote(n, noteDeployment, &left) == nil && left.Activating {
		return true
	}
	var note unsureNote
	return l.readNote(n, noteUnsure, &note) == nil && note.InvocationID == invocation
}

// settled forgets an interrupted live switch.
func (l Layout) settled(n microvm.Name) error {
	return errors.Join(removeLink(filepath.Join(l.ferryRoots(n), "interrupted")), l.dropNote(n, noteUnsure))
}
