package systemd

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ferry/internal/hostapi"
)

func TestParseJournal(t *testing.T) {
	for entry, want := range map[string]hostapi.LogLine{
		`{"__REALTIME_TIMESTAMP":"1000000","_SYSTEMD_UNIT":"microvm@web.service","MESSAGE":"hello"}`:                          {Time: time.Unix(1, 0).UTC(), Unit: "microvm@web.service", Line: "hello"},
		`{"__REALTIME_TIMESTAMP":"1000000","_SYSTEMD_UNIT":"init.scope","UNIT":"microvm@web.service","MESSAGE":[104,255,10]}`: {Time: time.Unix(1, 0).UTC(), Unit: "microvm@web.service", Line: "h�\n"},
		`{"__REALTIME_TIMESTAMP":"1000000","_SYSTEMD_UNIT":["a","b"],"MESSAGE":null}`:                                         {Time: time.Unix(1, 0).UTC(), Unit: "", Line: ""},
	} {
		if got, err := parseJournal([]byte(entry)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", entry, got, err)
		}
	}
	for _, entry := range []string{"", "{}", "null", `{"__REALTIME_TIMESTAMP":7}`, `{"__REALTIME_TIMESTAMP":"x"}`} {
		if got, err := parseJournal([]byte(entry)); err == nil {
			t.Errorf("%s: taken as %+v", entry, got)
		}
	}
	var lines int
	err := readJournal(strings.NewReader("garbage\n"+`{"__REALTIME_TIMESTAMP":"1","MESSAGE":"x"}`+"\n"), func(hostapi.LogLine) { lines++ })
	if err != nil || lines != 1 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// The journal is what a VM's programs make of it.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"__REALTIME_TIMESTAMP":"1","UNIT":"microvm@web.service","MESSAGE":"hello"}`))
	f.Add([]byte(`{"__REALTIME_TIMESTAMP":"9223372036854775807","_SYSTEMD_UNIT":["a","b"],"MESSAGE":[27,91,255]}`))
	f.Add([]byte(`{"__REALTIME_TIMESTAMP":"x","MESSAGE":null}`))
	f.Fuzz(func(t *testing.T, entry []byte) {
		line, err := parseJournal(entry)
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
