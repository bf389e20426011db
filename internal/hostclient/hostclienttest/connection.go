package hostclienttest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
)

// connection is one process of the helper.
type connection struct {
	h     *Helper
	in    *io.PipeReader
	out   *io.PipeWriter
	mu    sync.Mutex    // of writes
	gone  chan struct{} // the input has ended
	ended chan struct{} // the process has
}

func newConnection(h *Helper) (*connection, hostclient.Peer) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c := &connection{h: h, in: inR, out: outW, gone: make(chan struct{}), ended: make(chan struct{})}
	go c.serve()
	return c, hostclient.Peer{
		Address: Address, Stdin: inW, Stdout: outR,
		Wait: func() error { <-c.ended; return nil }, Kill: func() { c.cut(io.EOF) },
	}
}

// cut ends the connection from outside.
func (c *connection) cut(why error) {
	_ = c.in.CloseWithError(why)
	_ = c.out.CloseWithError(why)
}

// serve answers one request after the other, and signs of life at once.
func (c *connection) serve() {
	defer close(c.ended)
	defer c.out.Close()
	requests := make(chan []byte)
	go func() {
		defer close(requests)
		defer close(c.gone)
		lines := bufio.NewScanner(c.in)
		lines.Buffer(nil, 32<<20)
		for lines.Scan() {
			var req hostapi.Request
			if json.Unmarshal(lines.Bytes(), &req) == nil && req.Alive != nil && req.Alive.Seconds > 0 {
				c.say(0, hostapi.Event{Event: hostapi.EventAlive})
				continue
			}
			select {
			case requests <- append([]byte(nil), lines.Bytes()...):
			case <-c.ended:
				return
			}
		}
	}()
	for line := range requests {
		if !c.answer(line) {
			c.cut(io.EOF)
			return
		}
	}
}

// answer answers a request; false: the connection is lost.
func (c *connection) answer(line []byte) bool {
	req, err := understand(line)
	var r *Request
	if err == nil {
		r, err = c.h.next(req)
	}
	if err != nil {
		c.say(req.ID, hostapi.Event{Event: hostapi.EventError, Error: hostapi.Refuse(err.Error(), "say it otherwise")})
		return true
	}
	if r.do != nil {
		r.do()
	}
	for _, ev := range r.said {
		c.say(req.ID, ev)
	}
	if r.after != nil {
		select {
		case <-r.after:
		case <-c.gone:
		}
	}
	if r.lost {
		return false
	}
	c.say(req.ID, r.end)
	return true
}

// understand reads a request of this version, as a helper does.
func understand(line []byte) (hostapi.Request, error) {
	var req hostapi.Request
	if err := json.Unmarshal(line, &req); err != nil {
		return req, fmt.Errorf("the request cannot be read: %w", err)
	}
	switch theirs := cmp.Or(req.Protocol, 1); {
	case theirs > hostapi.ProtocolVersion:
		return req, fmt.Errorf("the ferry on this host is older (protocol %d)", theirs)
	case theirs < hostapi.ProtocolVersion:
		return req, fmt.Errorf("the operator's is older (protocol %d)", theirs)
	}
	if kinds := req.Kinds(); len(kinds) != 1 {
		return req, fmt.Errorf("the request asks for %d things", len(kinds))
	}
	return req, nil
}

func (c *connection) say(id uint64, ev hostapi.Event) {
	ev.ID = id
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.out.Write(append(raw(ev), '\n'))
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("a script's answer is no JSON: %v", err))
	}
	return b
}
