package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// streams connect a child with a caller's reader and writers. os/exec would do
// it too, but it either waits for ever for a process left behind or, with a
// WaitDelay, cuts the output of a command that ended well when the terminal is
// slow.
type streams struct {
	theirs []*os.File // the child's ends, closed here after its start
	ours   []*os.File // the ends that outputs are read from
	copies sync.WaitGroup

	mu  sync.Mutex
	err error // the first failure of a caller's reader or writer
}

// pipe makes a pipe whose child's end is closed by started. childReads says
// which end that is.
func (s *streams) pipe(childReads bool) (child, own *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	child, own = w, r
	if childReads {
		child, own = r, w
	}
	s.theirs = append(s.theirs, child)
	return child, own, nil
}

// output is a file for the child whose content goes to w.
func (s *streams) output(w io.Writer) (*os.File, error) {
	if f, ok := w.(*os.File); ok {
		return f, nil
	}
	child, own, err := s.pipe(false)
	if err != nil {
		return nil, err
	}
	s.ours = append(s.ours, own)
	s.copies.Go(func() {
		defer func() { _ = own.Close() }()
		_, err := io.Copy(w, own)
		s.fail(err)
	})
	return child, nil
}

// input is a file for the child with the content of r. Nobody waits for its
// end: a command may leave its input unread.
func (s *streams) input(r io.Reader) (*os.File, error) {
	if f, ok := r.(*os.File); ok {
		return f, nil
	}
	child, own, err := s.pipe(true)
	if err != nil {
		return nil, err
	}
	go func() {
		_, err := io.Copy(own, r)
		s.fail(err)
		_ = own.Close()
	}()
	return child, nil
}

func (s *streams) fail(err error) {
	if err == nil || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// started closes what belongs to the child.
func (s *streams) started() {
	for _, f := range s.theirs {
		_ = f.Close()
	}
	s.theirs = nil
}

// finish waits until the outputs are copied; once ctx has ended, what is in the
// pipes is enough. The error is that of a caller's reader or writer.
func (s *streams) finish(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.copies.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		for _, f := range s.ours {
			_ = f.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		select {
		case <-done:
		case <-time.After(grace): // a writer hangs
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
