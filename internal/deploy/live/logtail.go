package live

import "io"

const (
	maxTail     = 25   // lines of a log that an error shows
	maxTailLine = 2048 // bytes kept of each
)

// logTail keeps the end of a log while it is shown.
type logTail struct {
	to    io.WriteCloser
	lines []string
	rest  []byte
}

func (l *logTail) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for i, b := 0, l.rest; ; i = 0 {
		for i < len(b) && b[i] != '\n' {
			i++
		}
		if i == len(b) {
			l.rest = append(l.rest[:0], b[max(0, len(b)-maxTailLine):]...)
			break
		}
		l.lines = append(l.lines, string(b[:min(i, maxTailLine)]))
		b = b[i+1:]
	}
	l.lines = l.lines[max(0, len(l.lines)-maxTail):]
	return l.to.Write(p)
}
