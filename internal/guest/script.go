package guest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"ferry/internal/microvm"
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
	// silence is after how long a guest is given up that says nothing more; 0:
	// ctx alone says how long it may work. begin is for its first answer; 0:
	// beginLimit.
	silence, begin time.Duration
}

const (
	// beginLimit is for the login shell with its start-up files, sudo and sh.
	beginLimit = time.Minute
	// lookSilence is for looking at the guest, which takes a few processes.
	lookSilence = 2 * time.Minute
	// followSilence is for following something, with signs of life meanwhile.
	followSilence = 5 * time.Minute
)

// begun announces that the shell has come to our script. What was printed before
// is the login shell's own, and may lack the end of a line.
const begun = `printf '\n%s begun=\n' "$1"
`

// run runs a script as root. Its answers are lines that begin with a marker
// nobody can guess, so that no output of the switch passes for one. The count
// is of the bytes that were not answers.
func run(ctx context.Context, sh Shell, c call) (int64, error) {
	var nonce [12]byte
	_, _ = rand.Read(nonce[:]) // never fails, as documented
	marker := "ferry-" + hex.EncodeToString(nonce[:])
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit, has := cmp.Or(c.begin, beginLimit), &atomic.Bool{} // begun
	patience := remote.NewPatience(limit, func() {
		if has.Load() {
			cancel(fmt.Errorf("the guest says nothing any more (waited %s)", c.silence))
		} else {
			cancel(remote.SlowShell(addressOf(sh), limit))
		}
	})
	defer patience.Stop()
	out := &answers{marker: []byte(marker + " "), said: c.said, log: c.log, flood: cancel, noisy: func() { cancel(remote.NoisyShell(addressOf(sh))) }}
	out.begin = func() {
		has.Store(true)
		patience.Within(c.silence)
	}
	signs := func(w io.Writer) io.Writer {
		return lifeSigns{w: w, seen: func() {
			if has.Load() {
				patience.Seen()
			}
		}}
	}
	err := sh.Run(ctx, remote.Command{
		Args:   append([]string{"sh", "-c", begun + whole(c.script), "ferry", marker}, c.args...),
		AsRoot: true, Stdin: c.stdin, Stdout: signs(out), Stderr: signs(io.Discard), Shown: "ferry's script `" + c.name + "`",
	})
	out.flush()
	if err != nil {
		return out.other, fmt.Errorf("running ferry's script `%s`: %w", c.name, err)
	}
	return out.other, nil
}

var errFlood = fmt.Errorf("the guest sends more than %d MiB that nobody asked for", maxIdle>>20)

var errWork = fmt.Errorf("the log of the switch in the guest is longer than %d MiB", maxWork>>20)

// lifeSigns tells of everything that comes.
type lifeSigns struct {
	w    io.Writer
	seen func()
}

func (l lifeSigns) Write(p []byte) (int, error) {
	l.seen()
	return l.w.Write(p)
}

// addressOf is where a shell is, if it says so.
func addressOf(sh Shell) microvm.Address {
	if at, ok := sh.(interface{ Address() microvm.Address }); ok {
		return at.Address()
	}
	return microvm.Address{Host: "the guest"}
}

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
	begun  bool
	noise  int
	begin  func()            // called when the script has begun
	noisy  func()            // called where there is too much before that
	flood  func(cause error) // called where there is more than anybody wants
}

// A guest may be anybody's: what it sends is bounded.
const (
	maxLine    = 64 << 10 // bytes of a line
	maxNoise   = 64 << 10 // bytes before the script has begun
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
			if key == "begun" {
				if !a.begun {
					a.begun = true
					a.begin()
				}
				return
			}
			if _, again := a.said[key]; again || len(a.said) < maxAnswers {
				a.said[key] = value
			}
		}
		return
	}
	if !a.begun {
		if a.noise += len(l); a.noise > maxNoise {
			a.noisy()
		}
		return
	}
	a.other += int64(len(l))
	if a.log == nil && a.other > maxIdle {
		a.flood(errFlood)
	}
	if a.other > maxWork {
		a.flood(errWork)
		return
	}
	if a.log != nil && len(bytes.TrimSpace(l)) > 0 {
		_, _ = a.log.Write(l)
	}
}
