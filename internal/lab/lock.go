package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// lock makes sure that one process at a time changes the lab in this root. It
// waits for another one to end; the kernel releases the lock of a killed one.
// (The lock file cannot be in the root, which Down removes.)
func (l *Lab) lock(ctx context.Context) (unlock func(), err error) {
	return acquire(ctx, filepath.Join("/run", l.id()+".lock"), func() { l.logf("waiting for another lab command to end") })
}

// lockCache makes sure that one process at a time fills the cache, which all
// labs share.
func (l *Lab) lockCache(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(l.cache, 0o755); err != nil {
		return nil, err
	}
	return acquire(ctx, filepath.Join(l.cache, "lock"), func() { l.logf("waiting for another lab to fill the cache") })
}

func acquire(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	f := flock.New(file)
	ok, err := f.TryLock()
	if err == nil && !ok {
		waiting()
		_, err = f.TryLockContext(ctx, 100*time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", file, err)
	}
	return func() { _ = f.Unlock() }, nil
}
