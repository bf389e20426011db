package remote

import (
	"fmt"
	"strings"

	"ferry/internal/shell"
)

// maxLine is the longest command line given to ssh. The remote login shell gets
// it as one argument, of which Linux takes 128 KiB at most.
const maxLine = 120 << 10

// loginLine is Quote for the remote user's login shell, which need not be a
// POSIX shell: fish knows backslashes inside single quotes, csh takes neither
// `!` nor a line's end there. Words with such characters go encoded to sh.
func loginLine(words []string) (string, error) {
	for _, w := range words {
		if strings.ContainsRune(w, 0) {
			return "", fmt.Errorf("running %.40q: an argument has a NUL byte", words[0])
		}
	}
	line := shell.Quote(words...)
	if strings.ContainsFunc(line, unportable) {
		line = `sh -c 'eval "exec $(printf %b "$0")"' '` + octal(line) + `'`
	}
	if len(line) > maxLine {
		return "", fmt.Errorf("running %.40q: the command line has %d bytes, more than ssh can pass on: use the standard input", words[0], len(line))
	}
	return line, nil
}

func unportable(r rune) bool {
	return r == '\\' || r == '!' || r < ' ' || r > '~'
}

// octal writes s for printf's %b, with nothing in it that any shell would touch
// inside single quotes.
func octal(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; unportable(rune(c)) || c == '\'' || c == '%' {
			fmt.Fprintf(&b, `\0%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
