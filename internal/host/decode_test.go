package host

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Whatever a request line holds, it is read the same way again or refused.
func FuzzRequests(f *testing.F) {
	for _, line := range []string{
		`{"probe":{"name":"web"}}`, `{"probe":{"name":"../web"}}`, `{"commit":{"name":"web","runner":"/nix/store/x"}}`,
		`{"probe":null} {}`, `{"unknown":{}}`, `{"finish":{"name":"web","outcome":"\u001b[31m"}}`, `[]`, `null`, `{"alive":{"seconds":-1}}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if within, ok := signOfLife(line); ok && within <= 0 {
			t.Errorf("a sign of life for %s", within)
		}
		req, err := decodeRequest(line)
		if err != nil {
			return
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		req2, err := decodeRequest(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if third, err := json.Marshal(req2); err != nil || string(third) != string(again) {
			t.Errorf("%s became %s, %v", again, third, err)
		}
	})
}

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
		if err := os.MkdirAll(l.libDir("web"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{noteDeployment, noteRunning, noteUnsure} {
			if err := os.WriteFile(filepath.Join(l.libDir("web"), name), note, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var left unfinished
		if l.readNote("web", noteDeployment, &left) == nil {
			if left.reversible() && (left.Commit == nil || left.Before == nil) {
				t.Errorf("there is nothing to go back to: %s", note)
			}
			if left.awaits() < 0 {
				t.Errorf("awaits %s", left.awaits())
			}
		}
		var running runningNote
		_ = l.readNote("web", noteRunning, &running)
		_ = l.unsure("web", "another start of the unit")
		_ = l.record("web", someRunner)
	})
}
