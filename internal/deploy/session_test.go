package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"ferry/internal/host"
)

// talk makes a session with a helper that prints the given lines.
func talk(output string) (*hostSession, *strings.Builder) {
	var log strings.Builder
	s := &hostSession{
		address: "root@host1", stdin: nopCloser{io.Discard}, events: make(chan host.Event, 64),
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
	var built host.Built
	if err := s.call(t.Context(), host.Request{}, &built); err != nil || !strings.HasSuffix(string(built.Runner), "-r") {
		t.Fatalf("got %+v, %v", built, err)
	}
	if log.String() != "nix> building\nhost> not JSON: a login banner\n" {
		t.Errorf("log %q", log.String())
	}
	if err := s.call(t.Context(), host.Request{}, nil); err == nil || err.Error() != "web is locked" {
		t.Errorf("got %v", err)
	}
	if err := s.call(t.Context(), host.Request{}, nil); err == nil || !strings.Contains(err.Error(), "the connection to root@host1 was lost") {
		t.Errorf("got %v", err)
	}
}

// A helper of another version is not talked to any further, and the message says
// which side is to be updated.
func TestAnotherProtocolIsRefused(t *testing.T) {
	for said, older := range map[string]string{
		`{}`:               "the ferry on root@host1 is older than this one",
		`{"protocol":0}`:   "the ferry on root@host1 is older than this one",
		`{"protocol":999}`: "this one is older than the ferry on root@host1",
		fmt.Sprintf(`{"protocol":%d}`, host.ProtocolVersion): "",
	} {
		s, _ := talk(`{"event":"result","result":` + said + `}`)
		d := &deployment{Deployer: &Deployer{}, session: s}
		err := d.askFacts(t.Context(), host.ProbeRequest{Name: "web"})
		var refused *RefusedError
		if older == "" && err == nil {
			continue
		}
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Message, older) || older == "" || refused.Next == "" {
			t.Errorf("%s: %v", said, err)
		}
	}
}

// Whatever a host prints, a call ends and a store path that comes out is one.
func FuzzEvents(f *testing.F) {
	f.Add(`{"event":"result","result":{"runner":"/etc/passwd"}}`)
	f.Add(`{"event":"error"}`)
	f.Add("{\"event\":\"log\",\"line\":\"\\u001b[2J\"}\n{}")
	f.Fuzz(func(t *testing.T, output string) {
		s, _ := talk(output)
		var plan host.Plan
		if err := s.call(t.Context(), host.Request{}, &plan); err != nil {
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
