package vmstate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"ferry/internal/health"
	"ferry/internal/hostapi"
)

// Lock is what the helper process that works on a VM holds: the kernel drops it
// when that process ends, however it ends.
type Lock struct{ vm VM }

// Held is a lock that this process has taken. A nil one is held by nobody.
type Held struct{ file *flock.Flock }

func (k Lock) path() string { return filepath.Join(k.vm.layout.Lib, "locks", string(k.vm.name)) }

// lockPoll is how often who waits for a lock tries to get it.
const lockPoll = 200 * time.Millisecond

// Wait is Take for somebody who waits for at most within until the lock is free,
// and is told who has it. waited: somebody had it until now.
func (k Lock) Wait(ctx context.Context, mine hostapi.Lock, within time.Duration, log func(string)) (lock *Held, waited bool, err error) {
	deadline := time.Now().Add(within)
	for said := ""; ; {
		lock, err := k.Take(ctx, mine)
		var held *hostapi.Failure
		if err == nil || within == 0 || !errors.As(err, &held) || held.Kind != hostapi.KindLocked {
			return lock, said != "", err
		}
		if time.Now().After(deadline) {
			held.Message += fmt.Sprintf(" (waited %s)", health.Brief(within))
			return nil, true, held
		}
		if held.Message != said {
			said = held.Message
			log("waiting: " + said)
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, true, fmt.Errorf("waiting for the lock of %s: %w", k.vm.name, context.Cause(ctx))
		}
		mine.Since = time.Now().UTC()
	}
}

// Take takes the VM's lock or fails with KindLocked, saying who has it. A
// deployment that may still be confirmed has it though no process holds it.
func (k Lock) Take(ctx context.Context, mine hostapi.Lock) (*Held, error) {
	n, path := k.vm.name, k.path()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of locks: %w", err)
	}
	f, ok, err := tryLock(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", n, err)
	}
	if !ok {
		if held := k.Holder(); held != nil {
			return nil, held.Refusal(n)
		}
		return nil, hostapi.LockedFailure(fmt.Sprintf("%s is locked by another deployment", n))
	}
	now := k.vm.layout.Now()
	if left := k.vm.Notes().Left(); left != nil && left.ID != mine.Deployment && left.Awaits(now) > 0 {
		_ = f.Close()
		return nil, left.refusal(n, now)
	}
	b, err := json.Marshal(mine)
	if err == nil {
		// On a disk that is full the lock counts all the same: an undo needs it.
		if err = os.WriteFile(path, b, 0o600); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = nil
		}
	}
	if err != nil {
		_ = f.Unlock()
		return nil, fmt.Errorf("noting who locks %s: %w", n, err)
	}
	return &Held{file: f}, nil
}

// tryLock locks the file, unless it is locked for longer than an instant:
// whoever only looks at a lock holds it shared for that long. A removed VM takes
// its lock's file along; then what was locked counts for nobody else.
func tryLock(ctx context.Context, path string) (*flock.Flock, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	for {
		f := flock.New(path, flock.SetPermissions(0o600))
		ok, err := f.TryLockContext(ctx, 20*time.Millisecond)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, false, err
		}
		if !ok {
			return nil, false, f.Close()
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, false, errors.Join(err, f.Close())
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
			return f, true, nil
		}
		if err := f.Close(); err != nil {
			return nil, false, err
		}
	}
}

// Release empties the note before it lets go, so that it never outlives the lock.
func (h *Held) Release() {
	if h == nil {
		return
	}
	mine, err := h.file.Stat()
	if there, serr := os.Stat(h.file.Path()); err == nil && serr == nil && os.SameFile(mine, there) {
		_ = os.Truncate(h.file.Path(), 0)
	}
	_ = h.file.Close()
}

// Remove removes the lock's file with the VM; it is still to be released. Others
// that wait for it find that the file is gone, and make another.
func (h *Held) Remove() error { return os.Remove(h.file.Path()) }

// Holder reads who holds the VM's lock now; nil when nobody does.
func (k Lock) Holder() *hostapi.Lock {
	f := flock.New(k.path(), flock.SetPermissions(0o600))
	if _, err := os.Stat(f.Path()); err != nil {
		return nil
	}
	if free, err := f.TryRLock(); err != nil || free {
		_ = f.Unlock()
		return nil
	}
	b, err := os.ReadFile(f.Path())
	var held hostapi.Lock
	if err != nil || json.Unmarshal(b, &held) != nil {
		return nil
	}
	return &held
}
