package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ferry/internal/hostapi"
)

// logged is what comes out of a line writer for the given pieces of output.
func logged(t *testing.T, pieces ...string) []string {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out).Lines("nix")
	for _, p := range pieces {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	var lines []string
	for text := range strings.Lines(out.String()) {
		var ev hostapi.Event
		if err := json.Unmarshal([]byte(text), &ev); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, ev.Line)
	}
	return lines
}

// A line that is too long for one event arrives in several, with every byte of
// it, however it is written.
func TestLongLinesLoseNothing(t *testing.T) {
	for _, size := range []int{1, maxLogLine - 1, maxLogLine, maxLogLine + 1, 2*maxLogLine - 1, 2 * maxLogLine, 2*maxLogLine + 1} {
		line := strings.Repeat("abcdefg", size/7+1)[:size-1] + "$"
		for name, pieces := range map[string][]string{
			"at once":           {line + "\n"},
			"newline by itself": {line, "\n"},
			"in halves":         {line[:size/2], line[size/2:] + "\n"},
			"byte by byte":      strings.Split(line+"\n", ""),
		} {
			t.Run(fmt.Sprint(size, " ", name), func(t *testing.T) {
				got := logged(t, append(pieces, "next\n")...)
				if last := len(got) - 1; got[last] != "next" || strings.Join(got[:last], "") != line || last != (size+maxLogLine-1)/maxLogLine {
					t.Errorf("%d events with %d bytes for %d", last, len(strings.Join(got[:last], "")), size)
				}
			})
		}
	}
}
