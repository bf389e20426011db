package vmstate

import (
	"os"
	"path/filepath"
	"testing"
)

// Notes are root's, but a crash may cut one: what is read of it never makes ferry
// panic or do something that its notes do not say.
func FuzzNotes(f *testing.F) {
	for _, note := range []string{
		`{"id":"1","by":"a@b","phase":"undo","before":{},"commit":{"name":"web","activation":"restart"}}`,
		`{"invocationId":"x","system":"/nix/store/y"}`, `{"phase":"await","deadline":"9999-12-31T23:59:59Z"}`, `{"`, `""`, "\x00", `2026-01-02T03:04:05Z`,
	} {
		f.Add([]byte(note))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, note []byte) {
		l := Layout{Lib: dir}
		if err := os.MkdirAll(l.VM("web").lib(), 0o700); err != nil {
			t.Fatal(err)
		}
		vm := l.VM(web)
		for _, name := range []string{noteDeployment, noteRunning, noteUnsure} {
			if err := os.WriteFile(filepath.Join(l.VM("web").lib(), name), note, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if left := vm.Notes().Left(); left != nil {
			if left.Reversible() && (left.Commit == nil || left.Before == nil) {
				t.Errorf("there is nothing to go back to: %s", note)
			}
			if left.Awaits(l.Now()) < 0 {
				t.Errorf("awaits %s", left.Awaits(l.Now()))
			}
		}
		_, _ = vm.Guest().Running()
		_ = vm.Guest().IsUnsure("another start of the unit")
		_ = vm.Notes().Record(someRunner)
	})
}
