package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// lock makes sure that one process at a time changes the lab in this root. It
// waits for another one to end; the kernel releases the lock of a killed one.
// (The lock file cannot be in the root, which Down removes.)
func (l *Lab) lock(ctx context.Context) (unlock func(), err error) {
	f := flock.New(filepath.Join("/run", l.id()+".lock"))
	ok, err := f.TryLock()
	if err == nil && !ok {
		l.logf("waiting for another lab command to end")
		_, err = f.TryLockContext(ctx, 100*time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the lab: %w", err)
	}
	return func() { _ = f.Unlock() }, nil
}
