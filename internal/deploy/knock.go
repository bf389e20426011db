package deploy

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// knockLimit bounds the login to a guest that is tried beside the host's.
const knockLimit = 30 * time.Second

// knock is a login to the guest, tried while the host is asked. Nobody is asked
// for anything meanwhile. A nil *knock is none.
type knock struct {
	stop context.CancelFunc
	done chan struct{}
	// What follows is set when done is closed.
	who guest.Identity
	err error

	mu    sync.Mutex
	conn  live.Conn // nil: there is none, or somebody has taken it
	taken bool
}

// knocks reports whether the guest is to be asked who it is: the target is the
// operator's own, and what runs matters.
func (p progress) knocks() bool {
	rec := p.knownRecord()
	if rec != nil && (rec.SSH == nil || !*rec.SSH) {
		return false // nothing inside answers
	}
	if _, asksAnyway := p.wanted.(installed); asksAnyway || p.wanted == nil {
		return false
	}
	return p.to.Target != nil && !p.to.Recorded && !p.to.NoGuest && p.to.Action != hostapi.ActionBoot
}

// knock begins to ask the guest who it is.
func (r *run) knock(ctx context.Context, p progress) {
	r.guest.close()
	if r.guest = nil; !p.knocks() {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	k := &knock{stop: stop, done: make(chan struct{})}
	r.guest = k
	go func() {
		defer close(k.done)
		k.conn, k.who, k.err = r.introduce(ctx, *p.to.Target, p.to.TargetSudo)
	}()
}

// introduce logs in without a question to anybody, and asks the guest who it is.
func (r *run) introduce(ctx context.Context, to microvm.Address, sudo bool) (live.Conn, guest.Identity, error) {
	conn, err := r.dial(ctx, remote.Options{Address: to, Sudo: sudo, Batch: true, LoginLimit: knockLimit})
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

// within waits for the answer, at most so long, and reports whether it has come.
func (k *knock) within(ctx context.Context, limit time.Duration) bool {
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

// take gives away the login, once. Where there is none, and another try would
// find the same, it gives the error instead; else neither.
func (k *knock) take(ctx context.Context) (live.Conn, error) {
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
func (k *knock) answer(conn live.Conn, who guest.Identity) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.who, k.err = conn, who, nil
}

// close ends it, and the login unless somebody has taken it.
func (k *knock) close() {
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
