package host

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unicode/utf8"

	"ferry/internal/hostapi"
	"ferry/internal/systemd"
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

// The journal is what a VM's programs make of it.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"__REALTIME_TIMESTAMP":"1","UNIT":"microvm@web.service","MESSAGE":"hello"}`))
	f.Add([]byte(`{"__REALTIME_TIMESTAMP":"9223372036854775807","_SYSTEMD_UNIT":["a","b"],"MESSAGE":[27,91,255]}`))
	f.Add([]byte(`{"__REALTIME_TIMESTAMP":"x","MESSAGE":null}`))
	f.Fuzz(func(t *testing.T, entry []byte) {
		line, err := systemd.ParseJournal(entry)
		if err != nil {
			if !reflect.DeepEqual(line, hostapi.LogLine{}) {
				t.Errorf("an entry that can't be read gave %+v", line)
			}
			return
		}
		if !utf8.ValidString(line.Line) || !utf8.ValidString(line.Unit) {
			t.Errorf("no text: %q %q", line.Line, line.Unit)
		}
		if len(line.Line) > 3*len(entry) {
			t.Errorf("%d bytes came out of %d", len(line.Line), len(entry))
		}
	})
}
