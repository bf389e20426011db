package ui

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLine bounds a line from another machine, in bytes.
	maxLine = 4096
	// maxText bounds a message, in bytes; its beginning and its end are kept.
	maxText = 64 << 10
)

// Clean makes text from elsewhere harmless: control characters, and with them
// escape sequences, become visible; invalid UTF-8 is replaced; what goes beyond
// maxLine is cut; secrets are left out. New lines and tabs stay.
func Clean(s string) string {
	if len(s) > maxLine { // a secret at the cut is known by what follows it
		s = Redact(s[:min(len(s), 2*maxLine)])
		s = s[:min(len(s), maxLine)] + "…"
	}
	return harmless(s)
}

// cleanText is Clean for text of many lines, whose end matters as well.
func cleanText(s string) string {
	if len(s) > maxText {
		s = s[:maxText/2] + "\n…\n" + s[len(s)-maxText/2:]
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = Clean(l)
	}
	return strings.Join(lines, "\n")
}

// harmless is Clean without a limit.
func harmless(s string) string {
	s = Redact(s)
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || unsafe(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case unsafe(r):
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			b.WriteRune(r) // RuneError prints as the replacement character
		}
	}
	return b.String()
}

// unsafe: a terminal may act on it, or show other text than there is.
func unsafe(r rune) bool {
	if r == '\n' || r == '\t' {
		return false
	}
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// harmlessJSON escapes in JSON what its encoder leaves as it is though a terminal
// may act on it: DEL, the C1 controls, and invisible characters. It means the same
// to whoever reads it.
func harmlessJSON(b []byte) []byte {
	s := Redact(string(b))
	if !strings.ContainsFunc(s, unsafe) {
		return []byte(s)
	}
	var out strings.Builder
	for _, r := range s {
		switch {
		case !unsafe(r):
			out.WriteRune(r)
		case r > 0xffff: // a surrogate pair
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return []byte(out.String())
}
