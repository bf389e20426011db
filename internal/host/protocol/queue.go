package protocol

import (
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// patience is how long whoever prints waits for a reader who has stopped
	// reading. After that nobody waits, until something was read again.
	patience = time.Second
	// maxQueued bounds what waits for the reader, in bytes, results aside: of a
	// log the rest is dropped, an answer in parts waits.
	maxQueued = 1 << 20
)

var errUnread = errors.New("the operator does not read the answer")

// queue writes lines in their order without letting a reader who has stopped,
// as a process that Ctrl-Z has stopped, hold up the work for longer than patience.
type queue struct {
	mu    sync.Mutex
	w     io.Writer
	lines [][]byte
	bytes int    // of lines, and of the one that is being written
	put   uint64 // how many lines there have been,
	wrote uint64 // and how many are written
	busy  bool   // a goroutine writes
	// stalled: a line was waited for in vain, and none has been written since.
	stalled bool
	moved   chan struct{} // closed when the next line was written
	leaving bool          // nothing waits any more
	// refill yields what follows once all is written; nil for nothing.
	refill func() []byte

	limit time.Duration // of one write
	over  func()        // tells that it took longer
	timer *time.Timer
}

// full reports whether no more waits for the reader than may.
func (q *queue) full() bool { return q.stalled && q.bytes >= maxQueued }

// add puts a line at the end and returns its number. The lock is held.
func (q *queue) add(line []byte) uint64 {
	q.lines, q.bytes = append(q.lines, line), q.bytes+len(line)
	q.put++
	if !q.busy {
		q.busy = true
		go q.drain()
	}
	return q.put
}

func (q *queue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if len(q.lines) == 0 {
			if more := q.refill(); more != nil {
				q.add(more)
				continue
			}
			q.busy = false
			return
		}
		line := q.lines[0]
		q.lines = q.lines[1:]
		q.arm()
		q.mu.Unlock()
		_, _ = q.w.Write(line) // a reader who is gone is no reason to stop working
		q.mu.Lock()
		q.disarm()
		q.bytes, q.stalled = q.bytes-len(line), false
		q.wrote++
		close(q.moved)
		q.moved = make(chan struct{})
	}
}

// await waits until the line of that number is written, if it is soon.
func (q *queue) await(number uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.wrote < number && !q.stalled && q.wait(patience) {
	}
}

// room waits until a part of an answer may be added; the lock is held.
func (q *queue) room() error {
	for q.bytes >= maxQueued {
		if q.leaving {
			return errUnread
		}
		q.wait(patience)
	}
	return nil
}

// flush waits until all is written, or nothing is for a while.
func (q *queue) flush(idle time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.wrote < q.put && q.wait(idle) {
	}
}

// wait waits until a line is written, for the given time at most (0: for ever), and
// notes where none was. The lock is held, and let go of meanwhile.
func (q *queue) wait(atMost time.Duration) (moved bool) {
	next := q.moved
	q.mu.Unlock()
	defer q.mu.Lock()
	if atMost == 0 {
		<-next
		return true
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-next:
		return true
	case <-timer.C:
	}
	q.mu.Lock()
	q.stalled = q.moved == next
	q.mu.Unlock()
	return false
}

func (q *queue) arm() {
	if q.limit > 0 {
		q.timer = time.AfterFunc(q.limit, q.over)
	}
}

func (q *queue) disarm() {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
}
