package nix

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

const (
	maxKeptBytes = 256 << 10 // of stderr kept in memory; the oldest lines go first
	maxLineBytes = 4 << 10   // of one line; the rest of the line is dropped
	maxTailLines = 40        // of stderr in an error
)

var escapePattern = regexp.MustCompile("\x1b(\\[[0-9;?]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\))")

// plain removes terminal escapes and other control characters but tabs, so that
// what a build prints cannot move the cursor of the user's terminal.
func plain(line string) string {
	line = escapePattern.ReplaceAllString(line, "")
	return strings.Map(func(r rune) rune {
		if r == '\t' || (r >= 0x20 && r != 0x7f && (r < 0x80 || r > 0x9f)) {
			return r
		}
		return -1
	}, line)
}

// lineWriter splits a stream into plain lines, hands each on and keeps the last
// ones, bounded by maxKeptBytes.
type lineWriter struct {
	log  io.Writer
	each func(string)

	lines   []string
	kept    int // bytes in lines
	partial []byte
}

// Write never fails: a broken log must not stop a build.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			w.grow(p)
			return n, nil
		}
		w.grow(p[:i])
		w.flushLine()
		p = p[i+1:]
	}
}

func (w *lineWriter) grow(p []byte) {
	w.partial = append(w.partial, p[:min(len(p), max(0, maxLineBytes-len(w.partial)))]...)
}

func (w *lineWriter) flush() {
	if len(w.partial) > 0 {
		w.flushLine()
	}
}

func (w *lineWriter) flushLine() {
	line := plain(strings.ToValidUTF8(string(w.partial), "�"))
	w.partial = w.partial[:0]
	w.lines = append(w.lines, line)
	for w.kept += len(line) + 1; w.kept > maxKeptBytes; {
		w.kept -= len(w.lines[0]) + 1
		w.lines = w.lines[1:]
	}
	if w.log != nil {
		_, _ = io.WriteString(w.log, line+"\n")
	}
	if w.each != nil {
		w.each(line)
	}
}

// tail is the end of lines, without blank lines at its end.
func tail(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines[max(0, len(lines)-maxTailLines):]
}
