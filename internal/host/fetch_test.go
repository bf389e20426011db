package host

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

const (
	fetchedRunner = microvm.StorePath("/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-microvm-web")
	fetchedSystem = microvm.StorePath("/nix/store/ab9zv2y5gm8hr6g318p0s6kaclwj4slr-system-web")
)

// fetching is a session that has prepared the download of a runner.
func (h *testHost) fetching(t *testing.T) *client {
	t.Helper()
	c := h.session()
	t.Cleanup(c.leave)
	err := c.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{Name: "web", Runner: fetchedRunner, Deployment: hostapi.Deployment{ID: "one", By: "me"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFetch(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(fetchedRunner, fetchedSystem, "-m 1")
	h.Nix.Lacks = []microvm.StorePath{fetchedRunner}
	c := h.fetching(t)
	var built hostapi.Built
	if err := c.ask(hostapi.Request{Fetch: &hostapi.FetchRequest{Name: "web", Cache: "http://cache"}}, &built); err != nil || built.Runner != fetchedRunner {
		t.Fatalf("%+v, %v", built, err)
	}
	if !h.Nix.Did("fetch " + string(fetchedRunner) + " from http://cache") {
		t.Errorf("Nix was asked %q", h.Nix.Calls)
	}
}

// What is in the store already is not asked for again.
func TestFetchNothing(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(fetchedRunner, fetchedSystem, "-m 1")
	h.Nix.FetchError = errors.New("a download")
	if err := h.fetching(t).ask(hostapi.Request{Fetch: &hostapi.FetchRequest{Name: "web"}}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestFetchNeedsTheLock(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	t.Cleanup(c.leave)
	if err := c.ask(hostapi.Request{Fetch: &hostapi.FetchRequest{Name: "web"}}, nil); !hostapi.IsRefused(err) {
		t.Fatal(err)
	}
}

func TestFetchFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    nix.FetchKind
		signers []string
		want    hostapi.FailureKind
		says    string
	}{
		{"another key", nix.FetchUnsigned, []string{"theirs-1"}, hostapi.KindRefused, "is signed by theirs-1, which is not trusted"},
		{"no key", nix.FetchUnsigned, nil, hostapi.KindRefused, "has no signature at all"},
		{"a forged one", nix.FetchUnsigned, []string{"ours-1"}, hostapi.KindRefused, "by ours-1 is wrong"},
		{"not there", nix.FetchMissing, nil, hostapi.KindRefused, "is not in http://cache"},
		{"down", nix.FetchUnreachable, nil, hostapi.KindUnreachable, "can't be reached from the host"},
		{"stalled", nix.FetchStalled, nil, hostapi.KindUnreachable, "stopped sending"},
	} {
		h := newTestHost(t)
		h.Nix.Lacks, h.Nix.SignedBy = []microvm.StorePath{fetchedRunner}, c.signers
		h.Nix.FetchError = &nix.FetchError{Kind: c.kind, Path: fetchedRunner, Err: errors.New("nix says")}
		err := h.fetching(t).ask(hostapi.Request{Fetch: &hostapi.FetchRequest{Name: "web", Cache: "http://cache"}}, nil)
		var f *hostapi.Failure
		if !errors.As(err, &f) || f.Kind != c.want || !strings.Contains(f.Message, c.says) || f.Hint == "" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestFetchedIsNoRunner(t *testing.T) {
	h := newTestHost(t)
	h.Write(string(fetchedRunner)+"/bin/hello", "hello")
	err := h.fetching(t).ask(hostapi.Request{Fetch: &hostapi.FetchRequest{Name: "web"}}, nil)
	if !hostapi.IsRefused(err) || !strings.Contains(err.Error(), "is not a runner") {
		t.Fatal(err)
	}
}
