package hostclienttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
)

// Conform checks that a helper keeps to the protocol, as hostclient relies on it.
// start starts one on a host where nothing was ever deployed and whose list is
// Listed. It may leave checks unmade until well is closed.
func Conform(t *testing.T, start func(t *testing.T, well <-chan struct{}) hostclient.Peer) {
	for name, conforms := range map[string]func(t *testing.T, w *world){
		"an answer has its request's id":               answersHaveIDs,
		"a request without an id is answered so":       answersWithoutID,
		"requests are answered in their order":         answersInOrder,
		"items come in order, and the answer last":     itemsInOrder,
		"a cancelled call's answer goes to nobody":     cancelledCall,
		"signs of life are met, also while it works":   signsOfLife,
		"what cannot be read is refused, by its id":    nonsense,
		"several things at once are refused":           severalThings,
		"another protocol is refused":                  anotherProtocol,
		"the end of the input ends it":                 endOfInput,
		"the end of the input ends what is waited for": endOfInputWhileItWorks,
	} {
		t.Run(name, func(t *testing.T) { conforms(t, newWorld(t, start)) })
	}
}

// Listed are the VMs of the host that Conform speaks to.
func Listed() []hostapi.Listed {
	return []hostapi.Listed{{Name: "db", State: hostapi.StateStopped}, {Name: "web", State: hostapi.StateRunning}}
}

// world is a helper and what its checks ask: a server that is well when told.
type world struct {
	peer  hostclient.Peer
	lines *bufio.Scanner
	check *hostapi.CheckRequest
	well  func()
}

func newWorld(t *testing.T, start func(t *testing.T, well <-chan struct{}) hostclient.Peer) *world {
	t.Helper()
	well := make(chan struct{})
	var up atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	w := &world{peer: start(t, well), well: func() { up.Store(true); close(well) }}
	w.check = &hostapi.CheckRequest{Name: "web", Checks: health.Checks{HTTP: []string{server.URL}}, Seconds: 600}
	w.lines = bufio.NewScanner(w.peer.Stdout)
	w.lines.Buffer(nil, 1<<20)
	t.Cleanup(func() {
		_ = w.peer.Stdin.Close()
		w.peer.Kill()
		_, _ = io.Copy(io.Discard, w.peer.Stdout)
		_ = w.peer.Wait()
	})
	return w
}

func (w *world) send(t *testing.T, lines string) {
	t.Helper()
	if _, err := io.WriteString(w.peer.Stdin, lines); err != nil {
		t.Fatal(err)
	}
}

// next is what the helper says next, progress apart.
func (w *world) next(t *testing.T) (ev hostapi.Event) {
	t.Helper()
	for w.lines.Scan() {
		ev = hostapi.Event{}
		if err := json.Unmarshal(w.lines.Bytes(), &ev); err != nil {
			t.Fatalf("%v: %s", err, w.lines.Text())
		}
		if ev.Event != hostapi.EventLog {
			return ev
		}
	}
	t.Fatal("the helper has ended")
	return ev
}

func answersHaveIDs(t *testing.T, w *world) {
	for _, id := range []uint64{7, 1, 1 << 60} {
		w.send(t, fmt.Sprintf(`{"id":%d,"underway":{}}`+"\n", id))
		if ev := w.next(t); ev.Event != hostapi.EventResult || ev.ID != id {
			t.Errorf("request %d got %+v", id, ev)
		}
	}
}

func answersWithoutID(t *testing.T, w *world) {
	w.send(t, `{"id":7,"underway":{}}`+"\n"+`{"underway":{}}`+"\n")
	if ev := w.next(t); ev.ID != 7 {
		t.Errorf("got %+v", ev)
	}
	if ev := w.next(t); ev.Event != hostapi.EventResult || ev.ID != 0 {
		t.Errorf("got %+v", ev)
	}
}

func answersInOrder(t *testing.T, w *world) {
	go func() {
		_, _ = io.WriteString(w.peer.Stdin, `{"id":3,"underway":{}}`+"\n"+`{"id":9,"list":{}}`+"\n"+`{"id":2,"underway":{}}`+"\n")
	}()
	var got []uint64
	for len(got) < 3 {
		if ev := w.next(t); ev.Event == hostapi.EventResult {
			got = append(got, ev.ID)
		}
	}
	if !slices.Equal(got, []uint64{3, 9, 2}) {
		t.Errorf("answered were %v", got)
	}
}

func itemsInOrder(t *testing.T, w *world) {
	s := hostclient.New(w.peer, nil)
	var got []hostapi.Listed
	err := s.Stream(t.Context(), hostapi.Request{Commands: hostapi.Commands{List: &hostapi.ListRequest{}}}, hostclient.Items{Each: func(item json.RawMessage) error {
		var v hostapi.Listed
		err := json.Unmarshal(item, &v)
		got = append(got, v)
		return err
	}}, nil)
	if want := Listed(); err != nil || !slices.EqualFunc(got, want, func(a, b hostapi.Listed) bool { return a.Name == b.Name && a.State == b.State }) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func cancelledCall(t *testing.T, w *world) {
	ctx, cancel := context.WithCancel(t.Context())
	s := hostclient.New(w.peer, func(string, string) { cancel() })
	if err := s.Call(ctx, hostapi.Request{Check: w.check}, nil); !errors.Is(err, context.Canceled) || s.Closed() {
		t.Fatalf("got %v", err)
	}
	w.well()
	found := []hostapi.Underway{{Name: "none"}}
	if err := s.Call(t.Context(), hostapi.Request{Underway: &hostapi.UnderwayRequest{}}, &found); err != nil || len(found) != 0 {
		t.Errorf("the next call got %+v, %v", found, err)
	}
}

func signsOfLife(t *testing.T, w *world) {
	w.send(t, `{"alive":{"seconds":600}}`+"\n")
	if ev := w.next(t); ev.Event != hostapi.EventAlive || ev.ID != 0 {
		t.Errorf("met by %+v", ev)
	}
	b, _ := json.Marshal(hostapi.Request{ID: 5, Check: w.check})
	w.send(t, string(b)+"\n")
	go func() { _, _ = io.WriteString(w.peer.Stdin, `{"alive":{"seconds":600}}`+"\n") }()
	if ev := w.next(t); ev.Event != hostapi.EventAlive {
		t.Errorf("met by %+v while it works", ev)
	}
	w.well()
	if ev := w.next(t); ev.Event != hostapi.EventResult || ev.ID != 5 {
		t.Errorf("got %+v", ev)
	}
}

// refused sends a line that must be refused with a reason and a hint, and goes on.
func (w *world) refused(t *testing.T, id uint64, line string) string {
	t.Helper()
	w.send(t, line+"\n")
	ev := w.next(t)
	if ev.Event != hostapi.EventError || ev.ID != id || ev.Error == nil || !hostapi.IsRefused(ev.Error) || ev.Error.Hint == "" {
		t.Fatalf("%s got %+v", line, ev)
	}
	w.send(t, `{"id":77,"underway":{}}`+"\n")
	if next := w.next(t); next.Event != hostapi.EventResult || next.ID != 77 {
		t.Errorf("after %s: %+v", line, next)
	}
	return ev.Error.Message
}

func nonsense(t *testing.T, w *world) {
	w.refused(t, 0, `nonsense`)
	w.refused(t, 6, `{"id":6,"underway":"what"}`)
	w.refused(t, 0, `{"id":"six","underway":{}}`)
}

func severalThings(t *testing.T, w *world) {
	w.refused(t, 6, `{"id":6,"underway":{},"list":{}}`)
}

func anotherProtocol(t *testing.T, w *world) {
	says := w.refused(t, 6, fmt.Sprintf(`{"id":6,"protocol":%d,"underway":{},"invented":{}}`, hostapi.ProtocolVersion+1))
	if !strings.HasPrefix(says, "the ferry on this host is older") {
		t.Errorf("to a newer operator: %s", says)
	}
	says = w.refused(t, 7, `{"id":7,"protocol":-1,"underway":{}}`)
	if !strings.HasPrefix(says, "the operator's is older") {
		t.Errorf("to an older operator: %s", says)
	}
}

// ends fails the test unless the helper ends by itself.
func (w *world) ends(t *testing.T) {
	t.Helper()
	_ = w.peer.Stdin.Close()
	ended := make(chan error, 1)
	go func() {
		for w.lines.Scan() {
		}
		ended <- w.peer.Wait()
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the helper does not end")
	}
}

func endOfInput(t *testing.T, w *world) { w.ends(t) }

func endOfInputWhileItWorks(t *testing.T, w *world) {
	b, _ := json.Marshal(hostapi.Request{ID: 5, Check: w.check})
	w.send(t, string(b)+"\n")
	w.ends(t)
}
