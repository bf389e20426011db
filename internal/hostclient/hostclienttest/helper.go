// Package hostclienttest is ferry's helper on a host as tests of the operator's side
// need it: a script says what it is asked and what it answers, which requests take
// long, and at which the connection is lost. What speaks to it is the real
// hostclient.Session. Conform is what the fake and the real helper have in common.
// It must not know what a host does.
package hostclienttest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/remote"
)

// Helper is a fake of a host with a helper. A request that nobody expected fails the
// test, and so does one that was expected and never came.
type Helper struct {
	t testing.TB

	mu      sync.Mutex
	script  []*Request
	always  map[string]*Request
	told    []hostapi.Request
	refused []error
	open    []*connection
}

// New is a host that expects nothing.
func New(t testing.TB) *Helper {
	h := &Helper{t: t, always: map[string]*Request{}}
	t.Cleanup(h.done)
	return h
}

// Request is one that a Helper expects, and what becomes of it: an empty answer
// unless more is said.
type Request struct {
	kind  string
	check func(hostapi.Request) error
	do    func()
	after <-chan struct{}
	lost  bool
	said  []hostapi.Event
	end   hostapi.Event
}

// Expect is the next request, of the kind that the protocol calls so, as `probe`.
func (h *Helper) Expect(kind string) *Request {
	h.t.Helper()
	r := h.request(kind)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script = append(h.script, r)
	return r
}

// Allow is a kind of request that may come at any time, as often as somebody likes,
// unless Expect says otherwise.
func (h *Helper) Allow(kind string) *Request {
	h.t.Helper()
	r := h.request(kind)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.always[kind] = r
	return r
}

func (h *Helper) request(kind string) *Request {
	h.t.Helper()
	if !slices.Contains(hostapi.Kinds(), kind) {
		h.t.Fatalf("the protocol has no request %q", kind)
	}
	return &Request{kind: kind, end: hostapi.Event{Event: hostapi.EventResult, Result: raw(struct{}{})}}
}

// With has the request looked at; an error fails the test.
func (r *Request) With(check func(hostapi.Request) error) *Request { r.check = check; return r }

// Do is called when the request has arrived, before anything is said to it.
func (r *Request) Do(f func()) *Request { r.do = f; return r }

// Log is said before the answer.
func (r *Request) Log(source, line string) *Request {
	r.said = append(r.said, hostapi.Event{Event: hostapi.EventLog, Source: source, Line: line})
	return r
}

// Item is a part of the answer.
func (r *Request) Item(v any) *Request {
	r.said = append(r.said, hostapi.Event{Event: hostapi.EventItem, Item: raw(v)})
	return r
}

// After makes the answer wait until ready is closed; what is said before is said at
// once. The end of the connection ends the wait.
func (r *Request) After(ready <-chan struct{}) *Request { r.after = ready; return r }

// Answer is what the request is answered with.
func (r *Request) Answer(v any) *Request {
	r.end = hostapi.Event{Event: hostapi.EventResult, Result: raw(v)}
	return r
}

// Fail is what the request fails with.
func (r *Request) Fail(f *hostapi.Failure) *Request {
	r.end = hostapi.Event{Event: hostapi.EventError, Error: f}
	return r
}

// Lose loses the connection instead of an answer. The host goes on with the rest of
// the script over the next one.
func (r *Request) Lose() *Request { r.lost = true; return r }

// Refuse makes the next try to connect fail.
func (h *Helper) Refuse(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = append(h.refused, err)
}

// Open is hostclient.Open, whatever the connection is.
func (h *Helper) Open(ctx context.Context, _ remote.Conn, o hostclient.Options) (*hostclient.Session, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return nil, false, remote.Interrupted(ctx, "starting ferry's helper")
	}
	if len(h.refused) > 0 {
		err := h.refused[0]
		h.refused = h.refused[1:]
		return nil, false, err
	}
	p := h.connect()
	if o.Name != "" {
		p.Address = o.Name
	}
	return hostclient.New(p, o.Log), false, nil
}

// Peer is one more connection.
func (h *Helper) Peer() hostclient.Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.connect()
}

// Address is what a Helper is called where nobody says otherwise.
const Address = "root@host1"

func (h *Helper) connect() hostclient.Peer {
	c, p := newConnection(h)
	h.open = append(h.open, c)
	return p
}

// Told is what the host was asked until now, signs of life apart.
func (h *Helper) Told() []hostapi.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told)
}

// Kinds are the kinds of what the host was told.
func (h *Helper) Kinds() []string {
	var kinds []string
	for _, r := range h.Told() {
		kinds = append(kinds, strings.Join(r.Kinds(), "+"))
	}
	return kinds
}

// Ended reports whether all connections have ended.
func (h *Helper) Ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(h.open, func(c *connection) bool {
		select {
		case <-c.ended:
			return false
		default:
			return true
		}
	})
}

var errUnexpected = errors.New("nobody expected that")

// next is what becomes of a request.
func (h *Helper) next(req hostapi.Request) (*Request, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kind := req.Kinds()[0]
	h.told = append(h.told, req)
	r := h.always[kind]
	if len(h.script) > 0 && (h.script[0].kind == kind || r == nil) {
		r, h.script = h.script[0], h.script[1:]
	}
	switch {
	case r == nil:
		h.t.Errorf("the host was asked for `%s`, which nobody expected", kind)
		return nil, errUnexpected
	case r.kind != kind:
		h.t.Errorf("the host was asked for `%s`, expected was `%s`", kind, r.kind)
		return nil, errUnexpected
	}
	if r.check != nil {
		if err := r.check(req); err != nil {
			h.t.Errorf("the host was asked for `%s`: %v", kind, err)
		}
	}
	return r, nil
}

// done ends all connections, and looks for what never came.
func (h *Helper) done() {
	h.t.Helper()
	h.mu.Lock()
	open := h.open
	h.mu.Unlock()
	for _, c := range open {
		c.cut(io.EOF)
		<-c.ended
	}
	for _, r := range h.script {
		h.t.Errorf("the host was never asked for `%s`", r.kind)
	}
}
