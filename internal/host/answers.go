package host

import (
	"io"

	"ferry/internal/host/protocol"
)

// Answers is where a command prints that people start on a host: one Event a line,
// as in a session.
type Answers struct{ out *protocol.Writer }

// NewAnswers prints to w.
func NewAnswers(w io.Writer) *Answers { return &Answers{out: protocol.NewWriter(w)} }

// Log reports progress, for people.
func (a *Answers) Log(line string) { a.out.Log("host", line) }

// Result gives an answer.
func (a *Answers) Result(v any) {
	a.out.Result(v)
	a.out.Flush(0)
}

// Fail ends the answers with the reason why the command failed; where err is no
// *Failure it becomes one of KindFailed.
func (a *Answers) Fail(err error) {
	a.out.Fail(err)
	a.out.Flush(0)
}
