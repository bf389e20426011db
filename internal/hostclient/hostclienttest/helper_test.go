package hostclienttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
)

// recorder is a test that notes how it fails, and whose end the test decides.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanup  []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) end() []string {
	for _, f := range slices.Backward(r.cleanup) {
		f()
	}
	return r.failures
}

func connect(t *testing.T, h *Helper, log hostclient.Log) *hostclient.Session {
	t.Helper()
	s, _, err := h.Open(t.Context(), nil, hostclient.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func underway() hostapi.Request {
	return hostapi.Request{Underway: &hostapi.UnderwayRequest{Name: "web"}}
}
func probe() hostapi.Request { return hostapi.Request{Probe: &hostapi.ProbeRequest{Name: "web"}} }

// What fails a test that uses the fake, and what doesn't.
func TestScriptIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		script func(h *Helper)
		ask    []hostapi.Request
		fails  []string // parts of the test's failures
	}{
		"as expected":        {func(h *Helper) { h.Expect("probe"); h.Expect("underway") }, []hostapi.Request{probe(), underway()}, nil},
		"unknown":            {func(h *Helper) {}, []hostapi.Request{probe()}, []string{"`probe`, which nobody expected"}},
		"another":            {func(h *Helper) { h.Expect("underway") }, []hostapi.Request{probe()}, []string{"`probe`, expected was `underway`"}},
		"never asked":        {func(h *Helper) { h.Expect("probe"); h.Expect("underway") }, []hostapi.Request{probe()}, []string{"never asked for `underway`"}},
		"once too often":     {func(h *Helper) { h.Expect("probe") }, []hostapi.Request{probe(), probe()}, []string{"`probe`, which nobody expected"}},
		"at any time":        {func(h *Helper) { h.Allow("probe"); h.Expect("underway") }, []hostapi.Request{probe(), probe(), underway(), probe()}, nil},
		"allowed, not asked": {func(h *Helper) { h.Allow("probe") }, nil, nil},
		"wrong":              {func(h *Helper) { h.Expect("probe").With(func(hostapi.Request) error { return errors.New("wrong") }) }, []hostapi.Request{probe()}, []string{"`probe`: wrong"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			h := New(r)
			c.script(h)
			s := connect(t, h, nil)
			for _, req := range c.ask {
				if err := s.Call(t.Context(), req, nil); (err != nil) && len(c.fails) == 0 {
					t.Errorf("%q: %v", req.Kinds(), err)
				}
			}
			got := r.end()
			if len(got) != len(c.fails) {
				t.Fatalf("failures %q", got)
			}
			for i, part := range c.fails {
				if !strings.Contains(got[i], part) {
					t.Errorf("failures %q", got)
				}
			}
		})
	}
}

func TestAnswersOfTheScript(t *testing.T) {
	h := New(t)
	h.Expect("probe").Log("nix", "building").Answer(hostapi.Facts{StateDir: "/here"})
	h.Expect("underway").Fail(&hostapi.Failure{Kind: hostapi.KindLocked, Message: "no"})
	var log string
	s := connect(t, h, func(source, line string) { log += source + "> " + line })
	var facts hostapi.Facts
	if err := s.Call(t.Context(), probe(), &facts); err != nil || facts.StateDir != "/here" || log != "nix> building" {
		t.Errorf("%+v, %v, log %q", facts, err, log)
	}
	var f *hostapi.Failure
	if err := s.Call(t.Context(), underway(), nil); !errors.As(err, &f) || f.Kind != hostapi.KindLocked {
		t.Errorf("got %v", err)
	}
	if told := h.Told(); !slices.Equal(h.Kinds(), []string{"probe", "underway"}) || told[0].Probe.Name != "web" {
		t.Errorf("told %q", h.Kinds())
	}
}

// A connection that is lost at a request is one whose answer never comes; the script
// goes on over the next connection, if there is one.
func TestConnectionIsLostAtARequest(t *testing.T) {
	h := New(t)
	h.Expect("probe").Lose()
	h.Expect("underway")
	s := connect(t, h, nil)
	h.Refuse(errors.New("no route"))
	if err := s.Call(t.Context(), probe(), nil); !hostclient.IsLost(err) || !s.Closed() {
		t.Errorf("got %v", err)
	}
	if _, _, err := h.Open(t.Context(), nil, hostclient.Options{}); err == nil || err.Error() != "no route" {
		t.Errorf("got %v", err)
	}
	if err := connect(t, h, nil).Call(t.Context(), underway(), nil); err != nil {
		t.Errorf("over the next: %v", err)
	}
}

// A request may take as long as the test likes, and be given up meanwhile.
func TestSlowRequestIsGivenUp(t *testing.T) {
	h := New(t)
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	h.Expect("probe").Log("host", "working").After(ready).Answer(hostapi.Facts{StateDir: "late"})
	h.Expect("probe").Answer(hostapi.Facts{StateDir: "mine"})
	s := connect(t, h, func(string, string) { cancel() })
	if err := s.Call(ctx, probe(), nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(ready)
	var facts hostapi.Facts
	if err := s.Call(t.Context(), probe(), &facts); err != nil || facts.StateDir != "mine" {
		t.Errorf("got %+v, %v", facts, err)
	}
	canceled, end := context.WithCancel(t.Context())
	end()
	if _, _, err := h.Open(canceled, nil, hostclient.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// One that is never answered ends with the session.
func TestSessionEndsWhatIsWaitedFor(t *testing.T) {
	h := New(t)
	arrived := make(chan struct{})
	h.Expect("probe").Do(func() { close(arrived) }).After(make(chan struct{}))
	p := h.Peer()
	go func() {
		_, _ = io.WriteString(p.Stdin, `{"probe":{"name":"web"}}`+"\n")
		<-arrived
		_ = p.Stdin.Close()
	}()
	if out, _ := io.ReadAll(p.Stdout); !strings.Contains(string(out), "result") || p.Wait() != nil || !h.Ended() {
		t.Errorf("got %s", out)
	}
}
