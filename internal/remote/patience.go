package remote

import (
	"errors"
	"io"
	"sync"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

const (
	// AnswerLimit is for a login shell with its start-up files, and sudo, until a
	// command of ours has begun. It is long for a machine under load.
	AnswerLimit = time.Minute
	// maxNoise is how much a login shell may print before that, in bytes.
	maxNoise = 64 << 10
)

// Patience ends something that shows no progress: end is called once, when
// nothing was seen for the limit.
type Patience struct {
	timer *time.Timer
	mu    sync.Mutex
	limit time.Duration
}

// NewPatience begins to wait. Call Stop when done.
func NewPatience(limit time.Duration, end func()) *Patience {
	return &Patience{timer: time.AfterFunc(limit, end), limit: limit}
}

// Seen begins the wait anew, unless it is over.
func (p *Patience) Seen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer.Stop() {
		p.timer.Reset(p.limit)
	}
}

// Within is Seen with another limit from now on; 0 ends the wait.
func (p *Patience) Within(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit = limit; p.timer.Stop() && limit > 0 {
		p.timer.Reset(limit)
	}
}

// Stop ends the wait.
func (p *Patience) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
}

// Reader is r; what comes from it is progress.
func (p *Patience) Reader(r io.Reader) io.Reader { return patientReader{r, p} }

// Writer is w; what it takes is progress.
func (p *Patience) Writer(w io.Writer) io.Writer { return patientWriter{w, p} }

type patientReader struct {
	r io.Reader
	p *Patience
}

func (r patientReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if n > 0 {
		r.p.Seen()
	}
	return n, err
}

type patientWriter struct {
	w io.Writer
	p *Patience
}

func (w patientWriter) Write(b []byte) (n int, err error) {
	const piece = 64 << 10 // one that a slow line takes in time
	for n < len(b) && err == nil {
		var took int
		took, err = w.w.Write(b[n:min(len(b), n+piece)])
		n += took
		if took > 0 {
			w.p.Seen()
		}
	}
	return n, err
}

// ShellOutput is w for as much as a login shell may print before a command of ours
// begins; what is more fails, and calls over.
func ShellOutput(w io.Writer, over func()) io.Writer {
	return &bounded{w: w, left: maxNoise, over: over}
}

// bounded is w for so many bytes; what is more fails, and calls over.
type bounded struct {
	w    io.Writer
	left int
	over func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.over()
		return 0, errors.New("too much output")
	}
	return b.w.Write(p)
}

// ShellError is a login shell that keeps a command of ours from answering, by
// what its start-up files print or wait for.
type ShellError struct {
	Host  string
	Why   string
	login string // words for `ssh …`, as a hint shows them
}

func (e *ShellError) Error() string { return e.Host + ": " + e.Why }

// Section is the section of docs/troubleshooting.md about it.
func (*ShellError) Section() trouble.Section { return trouble.NoisyShell }

// Hint is what the operator can do next.
func (e *ShellError) Hint() string {
	return "its start-up files (~/.bashrc, ~/.profile, /etc/profile.d and the like) must neither print nor wait in shells that are not interactive: `" +
		e.login + " true` must end at once and print nothing"
}

// NoisyShell is the error of a login shell that prints without end.
func NoisyShell(a microvm.Address) *ShellError {
	return &ShellError{Host: a.String(), login: loginWords(a), Why: "its login shell prints more than 64 KiB before ferry's command begins"}
}

// SlowShell is the error of a command that does not begin.
func SlowShell(a microvm.Address, limit time.Duration) *ShellError {
	return &ShellError{Host: a.String(), login: loginWords(a), Why: "its login shell has not come to ferry's command within " + limit.String()}
}
