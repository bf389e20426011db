package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"ferry/internal/hostapi"
)

// talk makes a session with a helper that prints the given lines.
func talk(output string) (*hostSession, *strings.Builder) {
	var log strings.Builder
	s := &hostSession{
		address: "root@host1", stdin: nopCloser{io.Discard}, events: make(chan hostapi.Event, 64),
		log: func(source, line string) { log.WriteString(source + "> " + line + "\n") }, ended: func() error { return nil }, cancel: func() {},
	}
	go s.read(strings.NewReader(output))
	return s, &log
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestSessionAnswers(t *testing.T) {
	s, log := talk(`{"event":"log","source":"nix","line":"building"}
not JSON: a login banner
{"event":"result","result":{"runner":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-r"}}
{"event":"error","error":{"kind":"locked","message":"web is locked"}}
`)
	var built hostapi.Built
	if err := s.call(t.Context(), hostapi.Request{}, &built); err != nil || !strings.HasSuffix(string(built.Runner), "-r") {
		t.Fatalf("got %+v, %v", built, err)
	}
	if log.String() != "nix> building\nhost> not JSON: a login banner\n" {
		t.Errorf("log %q", log.String())
	}
	if err := s.call(t.Context(), hostapi.Request{}, nil); err == nil || err.Error() != "web is locked" {
		t.Errorf("got %v", err)
	}
	if err := s.call(t.Context(), hostapi.Request{}, nil); err == nil || !strings.Contains(err.Error(), "the connection to root@host1 was lost") {
		t.Errorf("got %v", err)
	}
}

// A host that talks instead of answering is left, unless it builds.
func TestEndlessTalkEndsTheSession(t *testing.T) {
	const lines = 2000
	output := strings.Repeat(`{"event":"log","source":"nix","line":"building"}`+"\n", lines) + `{"event":"result","result":{}}`
	for req, bounded := range map[*hostapi.Request]bool{
		{Probe: &hostapi.ProbeRequest{}}: true,
		{Build: &hostapi.BuildRequest{}}: false,
	} {
		s, log := talk(output)
		s.limits.chatter = 100 * (len("building") + eventSize)
		err := s.call(t.Context(), *req, nil)
		if bounded && (err == nil || !strings.Contains(err.Error(), "than anybody asked for") || isLost(err) || !s.closed) || !bounded && err != nil {
			t.Errorf("bounded %t: %v", bounded, err)
		}
		if got, want := strings.Count(log.String(), "\n"), map[bool]int{true: 100, false: lines}[bounded]; got != want {
			t.Errorf("bounded %t: %d lines were shown", bounded, got)
		}
	}
}

// Signs of life without end are no answer either.
func TestEndlessLifeEndsTheSession(t *testing.T) {
	s, _ := talk(strings.Repeat(`{"event":"alive"}`+"\n", 64)) // all fit into the channel
	s.limits.chatter = 10 * eventSize
	if err := s.call(t.Context(), hostapi.Request{Probe: &hostapi.ProbeRequest{}}, nil); err == nil || isLost(err) || !strings.Contains(err.Error(), "than anybody asked for") {
		t.Errorf("got %v", err)
	}
}

// What ends a session is told in plain words.
func TestEndOfASessionInPlainWords(t *testing.T) {
	s, _ := talk("")
	if err := s.call(t.Context(), hostapi.Request{}, nil); !isLost(err) || err.Error() != "the connection to root@host1 was lost: ferry's helper there ended without an answer" {
		t.Errorf("got %v", err)
	}
	r, _ := io.Pipe()
	s = &hostSession{address: "root@host1", stdin: nopCloser{io.Discard}, events: make(chan hostapi.Event)}
	go s.read(r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.call(ctx, hostapi.Request{}, nil); !errors.Is(err, context.Canceled) || err.Error() != "waiting for root@host1 was interrupted" {
		t.Errorf("got %v", err)
	}
}

// Whatever a host prints, a call ends and a store path that comes out is one.
func FuzzEvents(f *testing.F) {
	f.Add(`{"event":"result","result":{"runner":"/etc/passwd"}}`)
	f.Add(`{"event":"error"}`)
	f.Add("{\"event\":\"log\",\"line\":\"\\u001b[2J\"}\n{}")
	f.Fuzz(func(t *testing.T, output string) {
		s, _ := talk(output)
		var plan hostapi.Plan
		if err := s.call(t.Context(), hostapi.Request{}, &plan); err != nil {
			return
		}
		if r := string(plan.Runner); r != "" && !strings.HasPrefix(r, "/nix/store/") {
			t.Errorf("the runner is %q", r)
		}
		if _, err := json.Marshal(plan); err != nil {
			t.Error(err)
		}
	})
}
