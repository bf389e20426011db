package host

import (
	"ferry/internal/host/hosttest"
	"ferry/internal/host/protocol"

	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"ferry/internal/hostapi"
)

// answer is all that came for one request.
type answer struct {
	items  []json.RawMessage
	result json.RawMessage
	failed *hostapi.Failure
	logs   []string
}

// command asks for one thing, and wants all that comes to be its answer.
func (c *client) command(cmd hostapi.Commands) (a answer) {
	c.t.Helper()
	const id = 42
	b, err := json.Marshal(hostapi.Request{ID: id, Protocol: hostapi.ProtocolVersion, Commands: cmd})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.WriteString(c.in, string(b)+"\n"); err != nil {
		c.t.Fatal(err)
	}
	for c.events.Scan() {
		var ev hostapi.Event
		if err := json.Unmarshal(c.events.Bytes(), &ev); err != nil || ev.ID != id {
			c.t.Fatalf("%s got %s, %v", b, c.events.Text(), err)
		}
		switch ev.Event {
		case hostapi.EventLog:
			a.logs = append(a.logs, ev.Line)
		case hostapi.EventItem:
			a.items = append(a.items, ev.Item)
		case hostapi.EventResult:
			a.result = ev.Result
			return a
		case hostapi.EventError:
			a.failed = ev.Error
			return a
		}
	}
	c.t.Fatalf("no answer to %s", b)
	return a
}

// is decodes an answer, strictly, into a new value of the wanted type.
func is[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(bytes.NewReader(a.result))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil || a.failed != nil {
		t.Errorf("%T: %v, %+v: %s", v, err, a.failed, a.result)
	}
	return v
}

// Each command is answered with what docs/protocol.md says.
func TestCommandsAreAnswered(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 1G")
	h.deploy(hosttest.RunnerA, hostapi.ActivateStart)
	h.deploy(hosttest.RunnerB, hostapi.ActivateRestart)
	c := h.session()
	defer c.leave()
	life := &hostapi.LifeRequest{Name: web, By: "ann@laptop"}
	if got := is[hostapi.Life](t, c.command(hostapi.Commands{Stop: life})); got.Outcome != hostapi.OutcomeStopped {
		t.Errorf("stop: %+v", got)
	}
	if got := is[hostapi.Life](t, c.command(hostapi.Commands{Start: life})); got.Outcome != hostapi.OutcomeStarted {
		t.Errorf("start: %+v", got)
	}
	if got := is[hostapi.Life](t, c.command(hostapi.Commands{Restart: life})); got.Outcome != hostapi.OutcomeRestarted {
		t.Errorf("restart: %+v", got)
	}
	if got := is[hostapi.History](t, c.command(hostapi.Commands{History: &hostapi.HistoryRequest{Name: web, Last: 2}})); len(got.Entries) != 2 || got.Entries[1].By != "ann@laptop" {
		t.Errorf("history: %+v", got)
	}
	if got := is[[]hostapi.Generation](t, c.command(hostapi.Commands{Generations: &hostapi.GenerationsRequest{Name: web}})); len(got) != 2 {
		t.Errorf("generations: %+v", got)
	}
	if got := is[hostapi.Diff](t, c.command(hostapi.Commands{Diff: &hostapi.DiffRequest{Name: web, Generations: []int{1, 2}}})); got.To.Number != 2 {
		t.Errorf("diff: %+v", got)
	}
	if got := is[string](t, c.command(hostapi.Commands{Target: &hostapi.TargetRequest{Name: web}})); got != "" {
		t.Errorf("target: %q", got)
	}
	if got := is[hostapi.Removal](t, c.command(hostapi.Commands{Remove: &hostapi.RemoveRequest{LifeRequest: *life, Look: true}})); got.Removed || got.Directory == "" {
		t.Errorf("a look: %+v", got)
	}
	if got := is[hostapi.Removal](t, c.command(hostapi.Commands{Remove: &hostapi.RemoveRequest{LifeRequest: *life}})); !got.Removed || h.Link(web, "current") != "" {
		t.Errorf("remove: %+v", got)
	}
	for name, cmd := range map[string]hostapi.Commands{
		"no VM":        {Start: &hostapi.LifeRequest{By: "ann"}},
		"no lines":     {Logs: &hostapi.LogsRequest{Name: web}},
		"many lines":   {History: &hostapi.HistoryRequest{Name: web, Last: maxLines + 1}},
		"nobody's job": {Setup: &hostapi.SetupRequest{}},
	} {
		if a := c.command(cmd); a.failed == nil || a.failed.Kind != hostapi.KindRefused {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// A command that is under way ends with the session.
func TestCommandEndsWithTheSession(t *testing.T) {
	h := newTestHost(t)
	srv := h.server()
	began := make(chan struct{})
	srv.others.Setup = func(ctx context.Context, _ hostapi.SetupRequest) (any, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r, w := io.Pipe()
	done := make(chan error)
	var out bytes.Buffer
	go func() { done <- serve(t.Context(), srv, protocol.NewWriter(&out), r) }()
	_, _ = io.WriteString(w, `{"id":1,"setup":{}}`+"\n")
	<-began
	_ = w.Close()
	if err := <-done; err != nil || !strings.Contains(out.String(), `"event":"error","id":1`) {
		t.Errorf("got %v, %s", err, out.String())
	}
}

// A registration comes in pieces of whole lines, and as it is.
func TestRegistrationComesInPieces(t *testing.T) {
	h := newTestHost(t)
	var text strings.Builder
	for i := 0; text.Len() < 3*protocol.PieceSize; i++ {
		fmt.Fprintf(&text, "/nix/store/%032d-path\n%d\n", i, i)
	}
	text.WriteString("the end")
	h.Nix.Registration = text.String()
	c := h.session()
	defer c.leave()
	a := c.command(hostapi.Commands{Registration: &hostapi.RegistrationRequest{System: hosttest.SystemA}})
	var got strings.Builder
	for i, item := range a.items {
		var piece string
		if err := json.Unmarshal(item, &piece); err != nil {
			t.Fatal(err)
		}
		if i < len(a.items)-1 && !strings.HasSuffix(piece, "\n") {
			t.Errorf("piece %d ends in the middle of a line", i)
		}
		got.WriteString(piece)
	}
	if got.String() != h.Nix.Registration || a.failed != nil {
		t.Errorf("%d items, %+v", len(a.items), a.failed)
	}
	if a := c.command(hostapi.Commands{Registration: &hostapi.RegistrationRequest{}}); a.failed == nil {
		t.Error("a registration of nothing was given")
	}
}

// Where systemd does not answer, what needs it fails with that, and the rest is
// answered.
func TestWithoutSystemd(t *testing.T) {
	h := newTestHost(t)
	srv := h.server()
	srv.units, srv.noUnits = nil, errors.New("systemd does not answer")
	srv.others = Others{
		List:   func(context.Context, hostapi.ListRequest) ([]hostapi.Listed, error) { return nil, nil },
		Setup:  func(context.Context, hostapi.SetupRequest) (any, error) { return struct{}{}, nil },
		Timers: func(context.Context, json.RawMessage) (any, error) { return struct{}{}, nil },
	}
	defer srv.Close()
	needs := []string{}
	for _, kind := range hostapi.Kinds() {
		if kind == "logs" || kind == "alive" { // of this machine's journal; no request
			continue
		}
		var req hostapi.Request
		if err := json.Unmarshal([]byte(`{"`+kind+`":{"name":"web","last":1}}`), &req); err != nil {
			t.Fatal(err)
		}
		s := &session{srv: srv, out: protocol.NewWriter(io.Discard)}
		if _, err := s.answer(t.Context(), req); errors.Is(err, srv.noUnits) {
			needs = append(needs, kind)
		}
	}
	for _, kind := range []string{"list", "history", "target", "registration", "setup", "timers", "underway", "check", "missing"} {
		if slices.Contains(needs, kind) {
			t.Errorf("%s needs systemd", kind)
		}
	}
	if len(needs) < 15 {
		t.Errorf("only %q need systemd", needs)
	}
	if entries, _ := os.ReadDir(h.Layout.StateDir); len(entries) != 0 {
		t.Errorf("something was made: %v", entries)
	}
}
