package systemd

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// endPoll is how often somebody who waits for a process looks whether it still
// has to, in milliseconds; the end of the process wakes it at once.
const endPoll = 100

// process is one process, which no other can be taken for once it has ended;
// see pidfd_open(2).
type process struct {
	fd    int
	ended chan struct{} // closed at its end
	leave context.CancelFunc
	gone  sync.WaitGroup
}

func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	ctx, leave := context.WithCancel(context.Background())
	p := &process{fd: fd, ended: make(chan struct{}), leave: leave}
	p.gone.Go(func() { p.await(ctx) })
	return p, nil
}

func (p *process) await(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, endPoll)
		if n > 0 && err == nil {
			close(p.ended)
			return
		}
	}
}

// end tells the process to end; one that has already is no error.
func (p *process) end() error {
	if err := unix.PidfdSendSignal(p.fd, unix.SIGTERM, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("ending a process: %w", err)
	}
	return nil
}

func (p *process) close() {
	p.leave()
	p.gone.Wait()
	_ = unix.Close(p.fd)
}
