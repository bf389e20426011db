package vmstate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ferry/internal/microvm"
)

// The files with ferry's own notes on a VM, which only root can read.
const (
	noteRunning    = "running.json"
	noteToStart    = "to-start.json" // the time at which ferry wanted the VM up
	noteHistory    = "history.jsonl"
	noteRecords    = "records"
	noteDeployment = "deployment.json"
	noteLog        = "deployment.log"
	noteUnsure     = "unsure.json" // a live switch that nobody saw the end of
)

// noBoot stands for the boot of a note that does not say it and is older than this one.
const noBoot = "unknown"

// Notes are what ferry notes of a VM: the deployment that is under way, the
// records of its runners, that it is to be up.
type Notes struct{ vm VM }

// Path is where the note of a deployment is, for people.
func (n Notes) Path() string { return filepath.Join(n.vm.lib(), noteDeployment) }

// Deployment is the note of the deployment under way. The error is fs.ErrNotExist
// where there is none.
func (n Notes) Deployment() (*Note, error) {
	var note Note
	if err := n.read(noteDeployment, &note); err != nil {
		return nil, err
	}
	if note.Version == 0 && note.Boot == "" {
		note.Boot = noBoot // for good: whoever writes it again makes the file younger
		if fi, err := os.Stat(n.Path()); err == nil {
			if now := n.vm.layout.Now(); now.wrote(fi.ModTime()) {
				note.Boot = now.Boot
			}
		}
	}
	return &note, nil
}

// Left is Deployment, or nil where there is no note, or none that can be read.
func (n Notes) Left() *Note {
	note, err := n.Deployment()
	if err != nil {
		return nil
	}
	return note
}

// PutDeployment has the note on disk when it returns, without the secrets of checks.
func (n Notes) PutDeployment(note *Note) error { return n.put(noteDeployment, note) }

func (n Notes) put(file string, note *Note) error {
	open := *note
	open.Commit = note.Commit.Open()
	return n.write(file, &open)
}

// ToStart reports whether ferry has wanted the VM up since that time, in vain.
func (n Notes) ToStart(since time.Time) bool {
	var asked time.Time
	return n.read(noteToStart, &asked) == nil && since.Before(asked)
}

// PutToStart notes that the VM is to be up from now on.
func (n Notes) PutToStart() error { return n.write(noteToStart, time.Now()) }

// DropToStart forgets that: the VM is up, or was stopped on purpose.
func (n Notes) DropToStart() error { return n.drop(noteToStart) }

// Record returns the evaluated record of a runner, or nil where ferry has none.
func (n Notes) Record(runner microvm.StorePath) *microvm.Record {
	if runner == "" {
		return nil
	}
	var r microvm.Record
	if n.read(recordName(runner), &r) != nil {
		return nil
	}
	return &r
}

// PutRecord keeps the evaluated record of a runner.
func (n Notes) PutRecord(runner microvm.StorePath, r *microvm.Record) error {
	return n.write(recordName(runner), r)
}

func recordName(runner microvm.StorePath) string {
	return filepath.Join(noteRecords, filepath.Base(string(runner))+".json")
}

func (n Notes) read(file string, v any) error {
	b, err := os.ReadFile(filepath.Join(n.vm.lib(), file))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading %s of %s: %w", file, n.vm.name, err)
	}
	return nil
}

func (n Notes) write(file string, v any) error {
	dir := filepath.Dir(filepath.Join(n.vm.lib(), file))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making ferry's directory for %s: %w", n.vm.name, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(dir, filepath.Base(file), append(b, '\n'), 0o600)
}

func (n Notes) drop(file string) error {
	err := os.Remove(filepath.Join(n.vm.lib(), file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
