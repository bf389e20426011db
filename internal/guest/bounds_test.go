package guest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// What a guest says of itself is bounded in number and length, and what becomes a
// part of paths and commands has its form.
func TestAnswersAreBounded(t *testing.T) {
	for _, bad := range []string{"", "../x", "a b", "-x", "$(reboot)", strings.Repeat("a", 65)} {
		g := &scripted{output: "MARKER boot=" + strings.Repeat("b", 9000) + "\nMARKER switching=" + bad + "\nMARKER armed=" + bad + "\n"}
		f, err := Look(t.Context(), g, "")
		if err != nil || f.Switching != "" || f.Armed != "" || len(f.BootID) > maxWord {
			t.Errorf("%q: %q, %q, %d, %v", bad, f.Switching, f.Armed, len(f.BootID), err)
		}
	}
	g := &scripted{output: "MARKER boot=b\nMARKER armed=20261122T024710-12b4f3\nMARKER failed=" + strings.Repeat("x.service ", 5000) + "\n"}
	if f, err := Look(t.Context(), g, ""); err != nil || f.Armed == "" || len(f.FailedUnits) != maxUnits {
		t.Errorf("%+v, %v", f.Armed, err)
	}
	g = &scripted{output: "MARKER refused=units\nMARKER boot=b\nMARKER failed=" + strings.Repeat("y", 60000) + " x.service\n"}
	if a, err := CheckBooted(t.Context(), g, ConfirmRequest{}); err != nil || len(a.FailedUnits) != 2 || len(a.FailedUnits[0]) != maxUnit {
		t.Errorf("%d units, %v", len(a.FailedUnits), err)
	}
}

// The log of a switch ends somewhere.
func TestLogOfASwitchIsBounded(t *testing.T) {
	var cause error
	shown := 0
	a := &answers{marker: []byte("MARKER "), said: map[string]string{}, log: counting{&shown}, begun: true, flood: func(err error) { cause = err }}
	a.other = maxWork - 2000
	block := append(bytes.Repeat([]byte("z"), 999), '\n')
	for range 100 {
		_, _ = a.Write(block)
	}
	if cause == nil || shown != 2000 || !strings.Contains(fmt.Sprint(cause), "1024 MiB") {
		t.Errorf("%v, %d bytes were shown", cause, shown)
	}
}

type counting struct{ n *int }

func (c counting) Write(p []byte) (int, error) { *c.n += len(p); return len(p), nil }
