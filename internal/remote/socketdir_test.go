//go:build lab

package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/remote/remotetest"

	"github.com/gofrs/flock"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// A directory in use stays; one whose owner is gone goes, and with it the
// connection that the owner left behind.
func TestStaleConnectionsAreEnded(t *testing.T) {
	remotetest.Start(t)
	parent := shortDir(t)
	dir, remove, err := newSocketDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	o := box()
	o.Dir = dir
	c := dial(t, o)
	m := c.(*machine).w.(*ssh).master
	removeStale(t.Context(), parent)
	if !exists(dir) || !m.alive(t.Context()) {
		t.Fatal("a connection in use was ended")
	}

	// As a killed ferry leaves it: nobody holds the lock.
	lock := filepath.Join(dir, ownerFile)
	if err := errors.Join(os.Remove(lock), os.WriteFile(lock, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	removeStale(t.Context(), parent)
	if exists(dir) {
		t.Error("the directory is still there")
	}
	remotetest.WaitFor(t, "the end of the master", func() bool { return !running(m.pid) })
}

// What is not certainly ferry's and abandoned is left alone.
func TestStaleDirectoriesOfOthersStay(t *testing.T) {
	parent := shortDir(t)
	outside := filepath.Join(shortDir(t), "outside")
	for dir, mode := range map[string]os.FileMode{
		outside: 0o700, parent + "/ferry-no-owner": 0o700, parent + "/ferry-open": 0o755, parent + "/other": 0o700,
	} {
		if err := errors.Join(os.Mkdir(dir, mode), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(dir, "no-owner") {
			if err := os.WriteFile(filepath.Join(dir, ownerFile), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Symlink(outside, parent+"/ferry-link"); err != nil {
		t.Fatal(err)
	}
	removeStale(t.Context(), parent)
	for _, path := range []string{outside + "/owner", parent + "/ferry-no-owner", parent + "/ferry-open", parent + "/other", parent + "/ferry-link"} {
		if !exists(path) {
			t.Errorf("%s was removed", path)
		}
	}
}

func TestSocketDirIsLocked(t *testing.T) {
	parent := shortDir(t)
	dir, remove, err := newSocketDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if free, _ := flock.New(filepath.Join(dir, ownerFile)).TryLockContext(ctx, 10*time.Millisecond); free {
		t.Error("nobody holds the lock")
	}
	remove()
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
