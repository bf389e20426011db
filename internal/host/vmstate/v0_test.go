package vmstate

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// v0Outcomes are those of the history in testdata/v0/done, the oldest first; the
// other histories are beginnings of it.
var v0Outcomes = []string{"installed", "switched", "failed", "rolled-back", "interrupted", "installed", "switched"}

// v0 are the notes of version 0, see testdata/v0/README.md.
var v0 = map[string]struct {
	phase      hostapi.Phase
	activation hostapi.Activation // empty: no commit is noted
	activating bool
	reversible bool
	entries    int
	beside     []string // further notes
}{
	"undo":        {hostapi.PhaseUndo, hostapi.ActivateRestart, false, true, 3, []string{noteRunning, noteToStart}},
	"activating":  {"", hostapi.ActivateLive, true, false, 4, nil},
	"prepared":    {"", "", false, false, 5, []string{noteUnsure}},
	"commit-live": {hostapi.PhaseCommit, hostapi.ActivateLive, true, false, 6, []string{noteRunning, noteUnsure}},
	"commit":      {hostapi.PhaseCommit, hostapi.ActivateRestart, false, true, 7, []string{noteRunning}},
	"restart":     {hostapi.PhaseRestart, hostapi.ActivateRestart, false, true, 7, []string{noteRunning, noteToStart}},
	"await":       {hostapi.PhaseAwait, hostapi.ActivateRestart, false, true, 7, []string{noteRunning, noteToStart}},
	"done":        {hostapi.PhaseDone, hostapi.ActivateRestart, false, true, 7, nil},
}

// v0Layout is a host with a copy of the notes: looking at a lock opens it.
func v0Layout(t *testing.T, name string) Layout {
	t.Helper()
	lib := filepath.Join(t.TempDir(), "lib")
	if err := os.CopyFS(lib, os.DirFS(filepath.Join("testdata/v0", name, "lib"))); err != nil {
		t.Fatal(err)
	}
	return Layout{Lib: lib}
}

// readStrictly fails for a field that the code doesn't know: it would be lost.
func readStrictly(t *testing.T, l Layout, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.Lib, file))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

func TestNotesOfVersion0AreRead(t *testing.T) {
	for name, want := range v0 {
		t.Run(name, func(t *testing.T) {
			l := v0Layout(t, name)
			var left Note
			readStrictly(t, l, "vms/web/"+noteDeployment, &left)
			if left.Phase != want.phase || left.Activating != want.activating || left.Reversible() != want.reversible {
				t.Errorf("phase %q, activating %v, reversible %v", left.Phase, left.Activating, left.Reversible())
			}
			if left.ID == "" || left.By != "root@operator" || left.Started.IsZero() || left.Runner == "" {
				t.Errorf("%+v", left)
			}
			if (left.Commit == nil) != (want.activation == "") || left.Commit != nil && left.Commit.Activation != want.activation {
				t.Errorf("commit: %+v", left.Commit)
			}
			if (left.Before == nil) != (want.phase == "") {
				t.Errorf("before: %+v", left.Before)
			} else if b := left.Before; b != nil && (b.Current == "" || b.Boots() == "" || b.Flake == nil || len(b.Generations) == 0 || b.Unit.InvocationID == "") {
				t.Errorf("before: %+v", b)
			}
			if left.Phase == hostapi.PhaseAwait && (left.Deadline.IsZero() || left.Invocation == "") {
				t.Errorf("awaits until %s, invocation %q", left.Deadline, left.Invocation)
			}
			var lock hostapi.Lock
			readStrictly(t, l, "locks/web", &lock)
			if lock.Deployment != left.ID || lock.By != left.By || lock.PID == 0 {
				t.Errorf("lock: %+v", lock)
			}
			if left.Phase != "" && len(l.VM(web).Log(left.ID).Lines()) == 0 && left.Commit.Activation.Starts() && left.Phase != hostapi.PhaseCommit {
				t.Error("what the deployment said is not found")
			}
		})
	}
}

func TestHistoryOfVersion0IsRead(t *testing.T) {
	for name, want := range v0 {
		h, err := v0Layout(t, name).VM(web).History().Read(100)
		if err != nil || h.Broken > 0 {
			t.Fatalf("%s: %d broken lines, %v", name, h.Broken, err)
		}
		var outcomes []string
		for _, e := range h.Entries {
			outcomes = append(outcomes, e.Outcome)
			if e.By == "" || e.Action == "" || e.Runner == "" || e.Ended.Before(e.Started) {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if !slices.Equal(outcomes, v0Outcomes[:want.entries]) {
			t.Errorf("%s: %q", name, outcomes)
		}
	}
}

func TestNotesOfVersion0BesideTheDeployment(t *testing.T) {
	for name, want := range v0 {
		t.Run(name, func(t *testing.T) {
			l := v0Layout(t, name)
			var running Running
			var unsure Unsure
			var toStart time.Time
			for note, v := range map[string]any{noteRunning: &running, noteUnsure: &unsure, noteToStart: &toStart} {
				if !slices.Contains(want.beside, note) {
					if _, err := os.Stat(filepath.Join(l.VM("web").lib(), note)); !os.IsNotExist(err) {
						t.Errorf("%s: %v", note, err)
					}
					continue
				}
				readStrictly(t, l, "vms/web/"+note, v)
			}
			if slices.Contains(want.beside, noteRunning) && (running.InvocationID == "" || running.System == "") ||
				slices.Contains(want.beside, noteUnsure) && (!l.VM(web).Guest().IsUnsure(unsure.InvocationID) || unsure.Runner == "") ||
				slices.Contains(want.beside, noteToStart) && toStart.IsZero() {
				t.Errorf("%+v, %+v, %s", running, unsure, toStart)
			}
			v0Records(t, l)
		})
	}
}

// v0Records reads the records of the VM's runners.
func v0Records(t *testing.T, l Layout) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(l.VM("web").lib()), noteRecords, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		readStrictly(t, l, "vms/web/"+path, &microvm.Record{})
		runner := microvm.StorePath("/nix/store/" + strings.TrimSuffix(d.Name(), ".json"))
		if r := l.VM(web).Notes().Record(runner); r == nil || r.Runner.Out != runner || r.System.Out == "" || r.Mem == nil {
			t.Errorf("the record of %s: %+v", runner, r)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
