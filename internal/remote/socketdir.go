package remote

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// socketParent is short whatever TMPDIR says: a Unix socket's path may have
// about 100 bytes, and ssh adds 17 to it for a moment.
const socketParent = "/tmp"

const (
	socketPrefix = "ferry-"
	ownerFile    = "owner" // locked as long as the directory's owner lives
)

// NewSocketDir makes a private directory directly under /tmp. Its owner holds a
// lock in it, which the kernel drops when the owner ends, however it ends.
func NewSocketDir() (dir string, remove func(), err error) {
	return newSocketDir(socketParent)
}

func newSocketDir(parent string) (dir string, remove func(), err error) {
	wrap := func(err error) error { return fmt.Errorf("making a directory for ssh's sockets: %w", err) }
	// It gets its name only when it is locked, so nobody finds it without an
	// owner.
	hidden, err := os.MkdirTemp(parent, "."+socketPrefix) // mode 0700
	if err != nil {
		return "", nil, wrap(err)
	}
	lock := flock.New(filepath.Join(hidden, ownerFile), flock.SetPermissions(0o600))
	dir = filepath.Join(parent, strings.TrimPrefix(filepath.Base(hidden), "."))
	_, err = lock.TryLock()
	if err == nil {
		err = os.Rename(hidden, dir)
	}
	if err != nil {
		_ = lock.Close()
		_ = os.RemoveAll(hidden)
		return "", nil, wrap(err)
	}
	return dir, func() { _ = os.RemoveAll(dir); _ = lock.Close() }, nil
}

// RemoveStale ends the connections and removes the directories that a ferry of
// this user left behind when it was killed. It is best effort.
func RemoveStale(ctx context.Context) { removeStale(ctx, socketParent) }

func removeStale(ctx context.Context, parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, socketPrefix+"*"))
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return
		}
		if lock := abandoned(dir); lock != nil {
			endMasters(ctx, dir)
			_ = os.RemoveAll(dir)
			_ = lock.Close()
		}
	}
}

// abandoned is the lock of a directory that newSocketDir made for this user and
// that nobody owns any more, else nil.
func abandoned(dir string) *flock.Flock {
	fi, err := os.Lstat(dir)
	if err != nil || !fi.IsDir() || fi.Mode().Perm() != 0o700 || !ours(fi) {
		return nil
	}
	file := filepath.Join(dir, ownerFile)
	if fi, err = os.Lstat(file); err != nil || !fi.Mode().IsRegular() || !ours(fi) {
		return nil
	}
	lock := flock.New(file)
	if free, err := lock.TryLock(); err != nil || !free {
		_ = lock.Close()
		return nil
	}
	return lock
}

func ours(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// endMasters asks the ssh processes behind the sockets in dir to end. No
// configuration is read: the socket alone says which one is meant.
func endMasters(ctx context.Context, dir string) {
	sockets, _ := filepath.Glob(filepath.Join(dir, "*", "s"))
	for _, socket := range sockets {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		m := master{path: socket}
		cmd := exec.CommandContext(ctx, "ssh", "-F", "/dev/null", "-O", "exit", "-o", "ControlPath="+m.option(), "--", "stale")
		cmd.WaitDelay = time.Second
		_ = cmd.Run()
		cancel()
	}
}
