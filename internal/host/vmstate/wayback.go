package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// What an undo needs is made before a deployment changes anything, under names of
// its own beside what it replaces: an undo is exchanges, renames and removals, and
// works on a disk that is full. In the VM's directory, where others make entries,
// too, these names can't be guessed.
const (
	sparePrefix = ".ferry-undo-"
	spareNote   = sparePrefix + "note"    // deployment.json in phase undo
	spareUp     = sparePrefix + "started" // the same, and what ran before was started
	spareDown   = sparePrefix + "failed"  // the same, and the start of what ran before has failed
)

// spareName is a new name for something in the place of an entry; spares finds them.
func spareName(entry string) string {
	return tempName(strings.TrimPrefix(sparePrefix, ".ferry-") + entry)
}

// spares are the names of what may have been made in the place of an entry.
func spares(root *os.Root, entry string) []string {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), sparePrefix+entry+"-") {
			names = append(names, e.Name())
		}
	}
	return names
}

// unsaid stands for what no space was left to write down.
const unsaid = "there was no space to note why"

// PrepareUndo makes what an undo of the deployment needs, but for the roots.
func (v VM) PrepareUndo(note *Note) error {
	if err := v.dropUndo(); err != nil {
		return err
	}
	b := note.Before
	for _, step := range []func() error{
		func() error { return v.spareEntries(b, note.Commit.UpdateFlake != "") },
		func() error { return v.Profile().spare(b) },
		func() error { return v.Notes().SpareUndo(note) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("making what an undo needs: %w", err)
		}
	}
	return nil
}

// spareEntries makes those of the VM's directory.
func (v VM) spareEntries(b *Snapshot, flake bool) error {
	if !b.Directory {
		return nil
	}
	if flake && b.Flake != nil {
		if err := writeFile(v.Path(), spareName(flakeFile), []byte(*b.Flake), 0o644); err != nil {
			return err
		}
	}
	links := map[string]microvm.StorePath{"current": b.Current, "old": b.Old}
	if boots := b.Boots(); boots != b.Current {
		links["current-start"] = boots
	}
	return makeSpares(v.Path(), links)
}

// makeSpares makes spare links in a directory, and has them on disk.
func makeSpares[T ~string](dir string, links map[string]T) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, target := range links {
		if target == "" {
			continue
		}
		if err := root.Symlink(string(target), spareName(name)); err != nil {
			return err
		}
	}
	return syncDir(root)
}

// spare makes the profile's link and that of its generation, which a collector of
// old generations may take.
func (p Profile) spare(b *Snapshot) error {
	if b.Generation == 0 {
		return nil
	}
	return makeSpares(p.dir(), map[string]string{
		"runner": generationLink(b.Generation), "generation": string(b.GenerationRunner),
	})
}

// SpareUndo makes the notes that an undo puts in the place of the deployment's, from
// what is known by now: what they lack, nobody knows who finds them.
func (n Notes) SpareUndo(note *Note) error {
	undo := *note
	undo.Phase, undo.Why, undo.UndoStarted = hostapi.PhaseUndo, unsaid, nil
	up := NewUndoStart(n.vm.Now(), note.Before.Boots(), nil)
	down := NewUndoStart(n.vm.Now(), note.Before.Boots(), errors.New(unsaid))
	for _, start := range []*UndoStart{nil, &up, &down} {
		undo.UndoStarted = start
		if err := n.put(spareOf(start), &undo); err != nil {
			return err
		}
	}
	return nil
}

// spareOf is the spare note for what has become of the start of what ran before.
func spareOf(start *UndoStart) string {
	switch {
	case start == nil:
		return spareNote
	case start.Failed():
		return spareDown
	}
	return spareUp
}

// PutUndo notes that all is undone from here on, and how the start of what ran
// before has ended. Where no space is left for that, the note takes its place that
// was made before: it says the same without the reasons.
func (n Notes) PutUndo(note *Note) error {
	err := n.PutDeployment(note)
	if err == nil {
		return nil
	}
	spare := spareOf(note.UndoStarted)
	if n.says(noteDeployment, note) {
		return nil
	}
	if !n.says(spare, note) {
		return err
	}
	root, oerr := os.OpenRoot(n.vm.lib())
	if oerr != nil {
		return errors.Join(err, oerr)
	}
	defer root.Close()
	if rerr := root.Rename(spare, noteDeployment); rerr != nil {
		return errors.Join(err, rerr)
	}
	return syncDir(root)
}

// says reports whether a file has that note in all that decides about an undo.
func (n Notes) says(file string, note *Note) bool {
	var there Note
	return n.read(file, &there) == nil && there.ID == note.ID && there.Phase == note.Phase &&
		spareOf(there.UndoStarted) == spareOf(note.UndoStarted)
}

// UndoStart is the start of what ran before, in an undo, once that has ended.
type UndoStart struct {
	Boot   string            `json:"boot"` // of the host; empty: unknown
	Runner microvm.StorePath `json:"runner"`
	Error  string            `json:"error,omitempty"` // why it does not run
}

// NewUndoStart is a start that has just ended.
func NewUndoStart(now Moment, runner microvm.StorePath, err error) UndoStart {
	s := UndoStart{Boot: now.Boot, Runner: runner}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

// Failed: it did not come up.
func (s *UndoStart) Failed() bool { return s != nil && s.Error != "" }

// Counts: that runner was started since the host has booted. Once is enough.
func (s *UndoStart) Counts(now Moment, runner microvm.StorePath) bool {
	return s != nil && s.Runner == runner && s.Boot == now.Boot
}

// dropUndo removes what PrepareUndo has made. In the VM's directory it may fail,
// and nobody is hurt by what stays: the next deployment removes it.
func (v VM) dropUndo() error {
	_ = dropSpares(v.Path())
	return errors.Join(dropSpares(v.Profile().dir()), dropSpares(v.lib()))
}

func dropSpares(dir string) error {
	root, err := openDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), sparePrefix) {
			if err := root.RemoveAll(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
