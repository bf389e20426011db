package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// Who waits is told once who works on the VM, and gets the lock when that ends;
// what it had seen before counts for nothing.
func TestWaitsForTheLock(t *testing.T) {
	h := newTestHost(t)
	first := h.session()
	first.prepare(runnerA)
	second := h.session()
	type answer struct {
		hostapi.Prepared
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		a.err = second.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{
			Name: web, Runner: runnerB, WaitSeconds: 60, GuestSystem: "/nix/store/0000000000000000000000000000000b-seen-before",
			Deployment: hostapi.Deployment{ID: "two", By: "bob@desk", Started: time.Now().UTC()},
		}}, &a.Prepared)
		answered <- a
	}()
	select {
	case a := <-answered:
		t.Fatalf("it did not wait: %+v", a)
	case <-time.After(700 * time.Millisecond): // longer than one try takes
	}
	first.leave()
	a := <-answered
	if a.err != nil || !a.Waited {
		t.Fatalf("%+v", a)
	}
	if held := h.layout.lockHolder(web); held == nil || held.By != "bob@desk" || held.Deployment != "two" {
		t.Errorf("the lock is %+v", held)
	}
	second.leave()
}

func TestWaitForTheLockEnds(t *testing.T) {
	h := newTestHost(t)
	held, err := h.layout.lockVM(t.Context(), web, hostapi.Lock{By: "ann@laptop", Deployment: "one", Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	wait := func(ctx context.Context, within time.Duration) error {
		lock, waited, err := h.layout.waitVM(ctx, web, hostapi.Lock{By: "bob@desk"}, within, func(s string) { said = append(said, s) })
		lock.release()
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
	if l := h.layout.lockHolder(web); l == nil || l.By != "ann@laptop" {
		t.Errorf("the lock is %+v", l)
	}
	held.release()
	if err := wait(t.Context(), time.Hour); err != nil {
		t.Errorf("a free lock: %v", err)
	}
}
