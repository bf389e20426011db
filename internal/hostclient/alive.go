package hostclient

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"ferry/internal/hostapi"
)

const (
	// aliveEvery is how often a session's host hears that we are here.
	aliveEvery = 15 * time.Second
	// aliveLimit is after how much silence each side stops waiting for the other:
	// a build ends and the VM's lock is let go, though nothing ever said that the
	// connection, or the process at its end, froze.
	aliveLimit = 5 * time.Minute
	// greetLimit is for the first sign of life, which a helper gives at once.
	greetLimit = time.Minute
)

// living writes signs of life between a session's requests.
type living struct {
	io.WriteCloser
	mu    sync.Mutex
	once  sync.Once
	ended chan struct{}
}

func newLiving(w io.WriteCloser, every time.Duration) *living {
	l := &living{WriteCloser: w, ended: make(chan struct{})}
	sign, _ := json.Marshal(hostapi.Request{Alive: &hostapi.AliveRequest{Seconds: int(aliveLimit.Seconds())}}) // never fails
	go l.live(append(sign, '\n'), every)
	return l
}

func (l *living) live(sign []byte, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if _, err := l.Write(sign); err != nil {
			return // whoever waits for an answer learns why
		}
		select {
		case <-tick.C:
		case <-l.ended:
			return
		}
	}
}

func (l *living) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.WriteCloser.Write(p)
}

// Close ends the input, also where a write is stuck.
func (l *living) Close() error {
	l.once.Do(func() { close(l.ended) })
	return l.WriteCloser.Close()
}
