package nix

import (
	"fmt"
	"strings"
	"testing"
)

func TestLineWriter(t *testing.T) {
	var log strings.Builder
	var seen []string
	w := &lineWriter{log: &log, each: func(s string) { seen = append(seen, s) }}
	for _, part := range []string{"one\ntw", "o\n\x1b[31mred\x1b[0m\x1b]0;title\x07\r\n", "\ttab\x00\x7f\xff\n", "last"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if strings.Contains(log.String(), "last") {
		t.Error("a line without an end was logged early")
	}
	w.flush()
	want := "one\ntwo\nred\n\ttab�\nlast\n"
	if log.String() != want || strings.Join(seen, "\n")+"\n" != want || strings.Join(w.lines, "\n")+"\n" != want {
		t.Errorf("log %q, seen %q, kept %q; want %q", log.String(), seen, w.lines, want)
	}
}

func TestLineWriterIsBounded(t *testing.T) {
	w := &lineWriter{}
	for i := range 100_000 {
		fmt.Fprintf(w, "line %d\n", i)
	}
	for range 1000 {
		fmt.Fprint(w, strings.Repeat("x", 10_000)) // one line of 10 MB
	}
	w.flush()
	size := 0
	for _, line := range w.lines {
		size += len(line) + 1
	}
	last := w.lines[len(w.lines)-1]
	if size > maxKeptBytes || len(last) != maxLineBytes || w.lines[len(w.lines)-2] != "line 99999" {
		t.Errorf("%d bytes kept, last line has %d, before it %q", size, len(last), w.lines[len(w.lines)-2])
	}
	if got := tail(append(w.lines, "", " ")); len(got) != maxTailLines || got[maxTailLines-1] != last {
		t.Errorf("the tail has %d lines", len(got))
	}
}
