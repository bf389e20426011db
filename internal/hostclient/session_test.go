package hostclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/hostapi"
)

// talk makes a session with a helper that prints the given lines.
func talk(output string, l limits) (*Session, *strings.Builder) {
	var log strings.Builder
	s := newSession(peer(nopCloser{io.Discard}, strings.NewReader(output)), func(source, line string) { log.WriteString(source + "> " + line + "\n") }, l)
	return s, &log
}

func peer(stdin io.WriteCloser, stdout io.Reader) Peer {
	return Peer{Address: "root@host1", Stdin: stdin, Stdout: stdout, Wait: func() error { return nil }, Kill: func() {}}
}

func probe() hostapi.Request { return hostapi.Request{Probe: &hostapi.ProbeRequest{Name: "web"}} }

func TestSessionAnswers(t *testing.T) {
	s, log := talk(`{"event":"log","source":"nix","line":"building"}
not JSON: a login banner
{"event":"result","id":1,"result":{"runner":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-r"}}
{"event":"error","error":{"kind":"locked","message":"web is locked"}}
{"event":"error"}
`, limits{})
	var built hostapi.Built
	if err := s.Call(t.Context(), probe(), &built); err != nil || !strings.HasSuffix(string(built.Runner), "-r") {
		t.Fatalf("got %+v, %v", built, err)
	}
	if log.String() != "nix> building\n> not JSON: a login banner\n" {
		t.Errorf("log %q", log.String())
	}
	if err := s.Call(t.Context(), probe(), nil); err == nil || err.Error() != "web is locked" {
		t.Errorf("got %v", err)
	}
	if err := s.Call(t.Context(), probe(), nil); err == nil || !strings.Contains(err.Error(), "did not say why") {
		t.Errorf("got %v", err)
	}
	if err := s.Call(t.Context(), probe(), nil); err == nil || !strings.Contains(err.Error(), "the connection to root@host1 was lost") || !s.Closed() {
		t.Errorf("got %v", err)
	}
	if err := s.Call(t.Context(), probe(), nil); !IsLost(err) {
		t.Errorf("after its end: %v", err)
	}
}

// sent is an operator's end whose requests the test sees, and answers.
func sent(t *testing.T) (s *Session, requests *bufio.Scanner, say func(line string), log *strings.Builder) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := peer(inW, outR)
	p.Wait = func() error { return outW.Close() }
	log = &strings.Builder{}
	s = newSession(p, func(_, line string) { log.WriteString(line + "\n") }, limits{})
	t.Cleanup(func() { _ = s.Close() })
	return s, bufio.NewScanner(inR), func(line string) { _, _ = io.WriteString(outW, line+"\n") }, log
}

// cancelled calls, and gives up as soon as the request has arrived.
func cancelled(t *testing.T, s *Session, requests *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make(chan string)
	go func() {
		requests.Scan()
		arrived <- requests.Text()
		cancel()
	}()
	done := make(chan error)
	go func() { done <- s.Call(ctx, hostapi.Request{Check: &hostapi.CheckRequest{Name: "web"}}, nil) }()
	if line := <-arrived; !strings.HasPrefix(line, `{"id":1,"protocol":`) {
		t.Errorf("sent %s", line)
	}
	if err := <-done; !errors.Is(err, context.Canceled) || s.Closed() {
		t.Fatalf("got %v", err)
	}
}

// What a cancelled call is answered with goes to nobody, whether it is what the
// next call waits for or not.
func TestCancelledCallHandsItsAnswerToNobody(t *testing.T) {
	for name, late := range map[string]string{
		"its result": `{"event":"result","id":1,"result":"late"}`,
		"its error":  `{"event":"error","id":1,"error":{"kind":"health","message":"late"}}`,
		"its log":    `{"event":"log","id":1,"source":"host","line":"late"}`,
		"its items":  `{"event":"item","id":1,"item":"late"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, requests, say, log := sent(t)
			cancelled(t, s, requests)
			go func() {
				requests.Scan()
				say(late)
				say(`{"event":"log","id":2,"line":"mine"}`)
				say(`{"event":"result","id":2,"result":"mine"}`)
			}()
			var got string
			if err := s.Call(t.Context(), probe(), &got); err != nil || got != "mine" || log.String() != "mine\n" {
				t.Errorf("got %q, %v, log %q", got, err, log)
			}
		})
	}
}

// A call that is given up while the host takes nothing spoils nothing: its request
// arrives whole, and the next one after it.
func TestCallIsCancelledWhileItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, requests, say, _ := sent(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Call(ctx, hostapi.Request{Check: &hostapi.CheckRequest{Name: "web"}}, nil); !errors.Is(err, context.DeadlineExceeded) || s.Closed() {
			t.Fatalf("got %v", err)
		}
		canceled, end := context.WithCancel(t.Context())
		end()
		if err := s.Call(canceled, probe(), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("before it began: %v", err)
		}
		var lines []string
		go func() {
			for len(lines) < 2 && requests.Scan() {
				lines = append(lines, requests.Text())
			}
			say(`{"event":"result","id":1,"result":"late"}`)
			say(`{"event":"result","id":2,"result":"mine"}`)
		}()
		var got string
		if err := s.Call(t.Context(), probe(), &got); err != nil || got != "mine" {
			t.Errorf("got %q, %v", got, err)
		}
		if len(lines) != 2 || !strings.Contains(lines[0], `"check"`) || !strings.Contains(lines[1], `"id":2`) {
			t.Errorf("sent %q", lines)
		}
	})
}

// An older helper's answers have no id. While a cancelled call's answer may still
// come, nobody knows whose such a one is.
func TestAnswerWithoutIDAfterACancelledCall(t *testing.T) {
	s, requests, say, _ := sent(t)
	cancelled(t, s, requests)
	go func() {
		requests.Scan()
		say(`{"event":"result","result":"whose?"}`)
		for requests.Scan() {
		}
	}()
	var got string
	if err := s.Call(t.Context(), probe(), &got); !IsLost(err) || got != "" || !s.Closed() || !strings.Contains(err.Error(), "does not say what it answers") {
		t.Errorf("got %q, %v", got, err)
	}
}

// Once a cancelled call was answered, answers without an id are as good as before.
func TestAnswerWithoutIDOnceNothingIsLeft(t *testing.T) {
	s, requests, say, _ := sent(t)
	cancelled(t, s, requests)
	go func() {
		requests.Scan()
		say(`{"event":"result","id":1}`)
		say(`{"event":"result","result":"mine"}`)
	}()
	var got string
	if err := s.Call(t.Context(), probe(), &got); err != nil || got != "mine" {
		t.Errorf("got %q, %v", got, err)
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
		s, log := talk(output, limits{chatter: 100 * (len("building") + eventSize)})
		err := s.Call(t.Context(), *req, nil)
		if bounded && (err == nil || !strings.Contains(err.Error(), "that nobody asked for") || IsLost(err) || !s.closed) || !bounded && err != nil {
			t.Errorf("bounded %t: %v", bounded, err)
		}
		if got, want := strings.Count(log.String(), "\n"), map[bool]int{true: 100, false: lines}[bounded]; got != want {
			t.Errorf("bounded %t: %d lines were shown", bounded, got)
		}
	}
}

// What a host sends is bounded, whatever it is, and read no further.
func TestEndlessAnswersEnd(t *testing.T) {
	for name, c := range map[string]struct{ line, says string }{
		"items":              {`{"event":"item","id":1,"item":{"name":"web"}}` + "\n", "sends more than 10 answers"},
		"big items":          {`{"event":"item","id":1,"item":"` + strings.Repeat("x", 600<<10) + "\"}\n", "sends answers of more than 2 MiB"},
		"another's answers":  {`{"event":"result","id":7,"result":"` + strings.Repeat("x", 600<<10) + "\"}\n", "sends more than 1 MiB that nobody asked for"},
		"log lines":          {`{"event":"log","line":"` + strings.Repeat("x", 600<<10) + "\"}\n", "sends more than 1 MiB that nobody asked for"},
		"words":              {strings.Repeat("x", 600<<10) + "\n", "sends more than 1 MiB that nobody asked for"},
		"a line without end": {"x", "sends a line of more than 1 MiB"},
	} {
		out := &repeated{text: c.line}
		var killed atomic.Bool
		p := peer(nopCloser{io.Discard}, out)
		p.Kill = func() { killed.Store(true) }
		s := newSession(p, nil, limits{chatter: 1 << 20, line: 1 << 20})
		err := s.Stream(t.Context(), hostapi.Request{}, Items{Each: func(json.RawMessage) error { return nil }, Most: 10, Bytes: 2 << 20}, nil)
		if err == nil || IsLost(err) || !strings.HasPrefix(err.Error(), "root@host1 "+c.says) || strings.Contains(err.Error(), "bufio") || !killed.Load() {
			t.Errorf("%s: %v, killed %v", name, err, killed.Load())
		}
		out.end()
	}
}

// Signs of life without end are no answer either.
func TestEndlessLifeEndsTheSession(t *testing.T) {
	out := &repeated{text: `{"event":"alive"}` + "\n"}
	defer out.end()
	s := newSession(peer(nopCloser{io.Discard}, out), nil, limits{chatter: 1 << 10})
	if err := s.Call(t.Context(), probe(), nil); err == nil || IsLost(err) || !strings.Contains(err.Error(), "that nobody asked for") {
		t.Errorf("got %v", err)
	}
}

// repeated is a text again and again, until it is told to end.
type repeated struct {
	text  string
	read  int
	ended atomic.Bool
}

func (r *repeated) end() { r.ended.Store(true) }

func (r *repeated) Read(p []byte) (int, error) {
	n := 0
	if r.ended.Load() {
		return 0, io.EOF
	}
	for n < len(p) {
		took := copy(p[n:], r.text[r.read%len(r.text):])
		r.read, n = r.read+took, n+took
	}
	return n, nil
}

// Items may come without end where nobody keeps them, and only where they are
// expected; the error of who takes them ends the call.
func TestItems(t *testing.T) {
	output := strings.Repeat(`{"event":"item","id":1,"item":{"name":"web"}}`+"\n", 20_000) + `{"event":"result","id":1,"result":"end"}`
	s, _ := talk(output, limits{chatter: 1 << 10})
	items, end := 0, ""
	if err := s.Stream(t.Context(), hostapi.Request{}, Items{Each: func(json.RawMessage) error { items++; return nil }}, &end); err != nil || items != 20_000 || end != "end" {
		t.Errorf("%d items, %q, %v", items, end, err)
	}
	s, _ = talk(output, limits{})
	if err := s.Call(t.Context(), probe(), nil); err == nil || !strings.Contains(err.Error(), "that is not ferry's helper") {
		t.Errorf("items that nobody expects: %v", err)
	}
	s, _ = talk(output, limits{})
	enough := errors.New("enough")
	if err := s.Stream(t.Context(), hostapi.Request{}, Items{Each: func(json.RawMessage) error { return enough }}, nil); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

// What ends a session is told in plain words.
func TestEndOfASessionInPlainWords(t *testing.T) {
	s, _ := talk("", limits{})
	if err := s.Call(t.Context(), probe(), nil); !IsLost(err) || err.Error() != "the connection to root@host1 was lost: ferry's helper there ended without an answer" {
		t.Errorf("got %v", err)
	}
	r, _ := io.Pipe()
	s = New(peer(nopCloser{io.Discard}, r), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Call(ctx, probe(), nil); !errors.Is(err, context.Canceled) || err.Error() != "waiting for root@host1 was interrupted" {
		t.Errorf("got %v", err)
	}
}

// A registration is bounded, and comes as it was.
func TestRegistration(t *testing.T) {
	s, _ := talk(`{"event":"item","id":1,"item":"three\n"}`+"\n"+`{"event":"item","id":1,"item":"more\n"}`+"\n"+`{"event":"result","id":1}`, limits{})
	reg, err := s.Registration(t.Context(), "/nix/store/x")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(reg); string(b) != "three\nmore\n" {
		t.Errorf("got %q", b)
	}
	out := &repeated{text: `{"event":"item","id":1,"item":"` + strings.Repeat("x", 1<<20) + "\"}\n"}
	defer out.end()
	s = New(peer(nopCloser{io.Discard}, out), nil)
	if _, err := s.Registration(t.Context(), "/nix/store/x"); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("got %v", err)
	}
}

// Whatever a host prints, a call ends and a store path that comes out is one.
func FuzzEvents(f *testing.F) {
	f.Add(`{"event":"result","result":{"runner":"/etc/passwd"}}`)
	f.Add(`{"event":"error"}`)
	f.Add(`{"event":"result","id":1}`)
	f.Add("{\"event\":\"item\",\"id\":1,\"item\":1}\n{\"event\":\"item\",\"id\":18446744073709551615,\"item\":1}")
	f.Add("{\"event\":\"log\",\"line\":\"\\u001b[2J\"}\n{}")
	f.Fuzz(func(t *testing.T, output string) {
		s, _ := talk(output, limits{})
		var plan hostapi.Plan
		items := 0
		err := s.Stream(t.Context(), hostapi.Request{}, Items{Each: func(json.RawMessage) error { items++; return nil }}, &plan)
		if items > strings.Count(output, "\n")+1 {
			t.Errorf("%d items in %q", items, output)
		}
		if err != nil {
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

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
