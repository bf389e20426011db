package host

import (
	"testing"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
)

// Who waits is told once who works on the VM, and gets the lock when that ends;
// what it had seen before counts for nothing.
func TestWaitsForTheLock(t *testing.T) {
	h := newTestHost(t)
	first := h.session()
	first.prepare(hosttest.RunnerA)
	second := h.session()
	type answer struct {
		hostapi.Prepared
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		a.err = second.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{
			Name: web, Runner: hosttest.RunnerB, WaitSeconds: 60, GuestSystem: "/nix/store/0000000000000000000000000000000b-seen-before",
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
	if held := h.Layout.VM(web).Lock().Holder(); held == nil || held.By != "bob@desk" || held.Deployment != "two" {
		t.Errorf("the lock is %+v", held)
	}
	second.leave()
}
