package vmstate

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

func TestWaitForTheLockEnds(t *testing.T) {
	l := Layout{Lib: t.TempDir()}
	held, err := l.VM(web).Lock().Take(t.Context(), hostapi.Lock{By: "ann@laptop", Deployment: "one", Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	wait := func(ctx context.Context, within time.Duration) error {
		lock, waited, err := l.VM(web).Lock().Wait(ctx, hostapi.Lock{By: "bob@desk"}, within, func(s string) { said = append(said, s) })
		lock.Release()
		if err != nil && lock != nil {
			t.Error("a lock beside an error")
		}
		if err == nil && waited {
			t.Error("nobody was waited for")
		}
		return err
	}
	var f *hostapi.Failure
	if err := wait(t.Context(), 0); !errors.As(err, &f) || f.Kind != hostapi.KindLocked || !strings.Contains(f.Message, "is locked by ann@laptop since 20") {
		t.Errorf("without a wait: %v", err)
	}
	if err := wait(t.Context(), time.Second); !errors.As(err, &f) || f.Kind != hostapi.KindLocked || !strings.Contains(f.Message, "(waited 1s)") || !strings.Contains(f.Message, "deployment one") {
		t.Errorf("after the wait: %v", err)
	}
	if len(said) != 1 || !strings.Contains(said[0], "ann@laptop") {
		t.Errorf("said %q", said)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if l := l.VM(web).Lock().Holder(); l == nil || l.By != "ann@laptop" {
		t.Errorf("the lock is %+v", l)
	}
	held.Release()
	if err := wait(t.Context(), time.Hour); err != nil {
		t.Errorf("a free lock: %v", err)
	}
}

// A lock that waits for one whose file was removed meanwhile is worth something.
func TestLockOutlivesRemoval(t *testing.T) {
	l := Layout{Lib: t.TempDir()}
	first, err := l.VM(web).Lock().Take(t.Context(), hostapi.Lock{By: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(l.VM(web).Lock().path()); err != nil {
		t.Fatal(err)
	}
	second, err := l.VM(web).Lock().Take(t.Context(), hostapi.Lock{By: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	first.Release()
	if held := l.VM(web).Lock().Holder(); held == nil || held.By != "bob" {
		t.Errorf("the lock is held by %+v", held)
	}
	if _, err := l.VM(web).Lock().Take(t.Context(), hostapi.Lock{By: "eve"}); err == nil {
		t.Error("locked twice")
	}
	second.Release()
}
