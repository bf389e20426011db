package host

import (
	"io"
	"time"

	"ferry/internal/hostapi"
)

// Answers is where a command of the helper prints: one Event a line, as in a
// session, so that the operator's side reads all commands alike.
type Answers struct{ out *eventWriter }

// NewAnswers prints to w.
func NewAnswers(w io.Writer) *Answers { return &Answers{out: &eventWriter{w: w}} }

// Live gives a sign of life at once and then again and again, until stop is called:
// the operator's side takes a helper that says nothing for lost.
func (a *Answers) Live(every time.Duration) (stop func()) {
	ended := make(chan struct{})
	a.out.print(hostapi.Event{Event: hostapi.EventAlive})
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				a.out.print(hostapi.Event{Event: hostapi.EventAlive})
			case <-ended:
				return
			}
		}
	}()
	return func() { close(ended) }
}

// Log reports progress, for people.
func (a *Answers) Log(line string) { a.out.log("host", line) }

// Result gives an answer.
func (a *Answers) Result(v any) { a.out.result(v) }

// Fail ends the answers with the reason why the command failed; where err is no
// *Failure it becomes one of KindFailed.
func (a *Answers) Fail(err error) { a.out.fail(err) }
