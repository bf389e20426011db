package remote

import (
	"io"
	"strings"
	"sync"
)

// tailSize bounds what errors keep of a program's messages, in bytes.
const tailSize = 8 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	return len(p), nil
}

// String is the text without white space around it, and without the rest of a
// line that was cut.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := string(t.buf)
	if t.cut {
		if _, rest, ok := strings.Cut(s, "\n"); ok {
			s = rest
		}
	}
	return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
}

// copyMessages copies what ssh says to where it is kept and, unless nil, to the
// operator, until the end of r.
func copyMessages(r io.Reader, kept *tail, operator io.Writer) {
	var to io.Writer = kept
	if operator != nil {
		to = io.MultiWriter(kept, operator)
	}
	_, _ = io.Copy(to, r)
}
