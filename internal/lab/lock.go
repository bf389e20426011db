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
// The lock file lies beside the root, which Down removes.
func (l *Lab) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(l.root), 0o755); err != nil {
		return nil, err
	}
	f := flock.New(l.root + ".lock")
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
