package target

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// Dial logs in to a machine.
type Dial func(context.Context, remote.Options) (remote.Conn, error)

// knockLimit bounds the login to a guest that is tried beside the host's.
const knockLimit = 30 * time.Second

// Knock is a login to the guest, tried while the host is asked. Nobody is asked
// for anything meanwhile. A nil *Knock is none.
type Knock struct {
	stop context.CancelFunc
	done chan struct{}
	// What follows is set when done is closed.
	who guest.Identity
	err error

	mu    sync.Mutex
	conn  live.Conn // nil: there is none, or somebody has taken it
	taken bool
}

// Begin begins to ask the machine at an address who it is, and comes back at once.
func Begin(ctx context.Context, dial Dial, to microvm.Address, sudo bool) *Knock {
	ctx, stop := context.WithCancel(ctx)
	k := &Knock{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		k.conn, k.who, k.err = introduce(ctx, dial, to, sudo)
	}()
	return k
}

// introduce logs in without a question to anybody, and asks the guest who it is.
func introduce(ctx context.Context, dial Dial, to microvm.Address, sudo bool) (live.Conn, guest.Identity, error) {
	conn, err := dial(ctx, remote.Options{Address: to, Sudo: sudo, Batch: true, LoginLimit: knockLimit})
	if err != nil {
		return nil, guest.Identity{}, err
	}
	who, err := guest.Ask(ctx, conn, "")
	if err != nil {
		_ = conn.Close()
		return nil, who, err
	}
	return conn, who, nil
}

// Within waits for the answer, at most so long, and reports whether it has come.
func (k *Knock) Within(ctx context.Context, limit time.Duration) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-k.done:
		return true
	case <-ctx.Done():
	case <-late.C:
	}
	return false
}

// Take gives away the login, once. Where there is none, and another try would
// find the same, it gives the error instead; else neither.
func (k *Knock) Take(ctx context.Context) (live.Conn, error) {
	if k == nil {
		return nil, nil
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	conn, again := k.conn, k.taken
	k.conn, k.taken = nil, true
	var ce *remote.ConnectError
	if !again && errors.As(k.err, &ce) && (ce.Kind == remote.Unreachable || ce.Kind == remote.ChangedHostKey) {
		return nil, k.err
	}
	return conn, nil
}

// answer is what another login has found out.
func (k *Knock) answer(conn live.Conn, who guest.Identity) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.who, k.err = conn, who, nil
}

// Close ends it, and the login unless somebody has taken it.
func (k *Knock) Close() {
	if k == nil {
		return
	}
	k.stop()
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		_ = k.conn.Close()
		k.conn = nil
	}
}
