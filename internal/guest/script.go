package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"ferry/internal/remote"
)

//go:embed base.sh
var baseScript string

// whole is a script with what all of them share in front.
func whole(script string) string { return holdScript + baseScript + script }

// call is one run of a script in the guest.
type call struct {
	script, name string
	args         []string
	stdin        io.Reader
	log          io.Writer         // lines that are no answers
	said         map[string]string // the answers
}

// run runs a script as root. Its answers are lines that begin with a marker
// nobody can guess, so that no output of the switch passes for one. The count
// is of the bytes that were not answers.
func run(ctx context.Context, sh Shell, c call) (int64, error) {
	var nonce [12]byte
	_, _ = rand.Read(nonce[:]) // never fails, as documented
	marker := "ferry-" + hex.EncodeToString(nonce[:])
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &answers{marker: []byte(marker + " "), said: c.said, log: c.log, flood: func() { cancel(errFlood) }}
	err := sh.Run(ctx, remote.Command{
		Args:   append([]string{"sh", "-c", whole(c.script), "ferry", marker}, c.args...),
		AsRoot: true, Stdin: c.stdin, Stdout: out, Shown: "ferry's script `" + c.name + "`",
	})
	out.flush()
	if err != nil {
		return out.other, fmt.Errorf("running ferry's script `%s`: %w", c.name, err)
	}
	return out.other, nil
}

var errFlood = fmt.Errorf("the guest sends more than %d MiB that nobody asked for", maxIdle>>20)

// end keeps the end of what is written to it.
type end struct{ kept []byte }

func (e *end) Write(p []byte) (int, error) {
	e.kept = append(e.kept, p[max(0, len(p)-maxEnd):]...)
	e.kept = e.kept[max(0, len(e.kept)-maxEnd):]
	return len(p), nil
}

// answers tells a script's answers from other output.
type answers struct {
	marker []byte
	said   map[string]string
	log    io.Writer
	other  int64
	rest   []byte
	flood  func() // called where there is more than anybody wants
}

// A guest may be anybody's: what it sends is bounded.
const (
	maxLine    = 64 << 10 // bytes of a line
	maxAnswers = 64       // of one script
	maxIdle    = 1 << 20  // bytes that are no answers, where nobody wants a log
	maxEnd     = 4 << 10  // bytes kept of a command's output
)

func (a *answers) Write(p []byte) (int, error) {
	a.rest = append(a.rest, p...)
	for {
		i := bytes.IndexByte(a.rest, '\n')
		if i < 0 {
			if len(a.rest) > maxLine {
				a.line(a.rest)
				a.rest = nil
			}
			return len(p), nil
		}
		a.line(a.rest[:i+1])
		a.rest = a.rest[i+1:]
	}
}

func (a *answers) flush() {
	if len(a.rest) > 0 {
		a.line(a.rest)
		a.rest = nil
	}
}

func (a *answers) line(l []byte) {
	if answer, ok := bytes.CutPrefix(l, a.marker); ok {
		if key, value, ok := strings.Cut(strings.TrimRight(string(answer), "\r\n"), "="); ok {
			if _, again := a.said[key]; again || len(a.said) < maxAnswers {
				a.said[key] = value
			}
		}
		return
	}
	a.other += int64(len(l))
	if a.log == nil && a.other > maxIdle && a.flood != nil {
		a.flood()
	}
	if a.log != nil && len(bytes.TrimSpace(l)) > 0 {
		_, _ = a.log.Write(l)
	}
}
