package hostlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// fakeHost answers in the order in which it is asked; "lost" ends the connection.
type fakeHost struct {
	answers []string // KIND, or KIND lost, or KIND fails
	resumed hostapi.Resumed
	gone    bool // nobody can log in again
	said    []string
	open    int
}

type fakeConn struct {
	remote.Conn
	h *fakeHost
}

func (c fakeConn) SudoPassword() bool { return false }

func (c fakeConn) Close() error { c.h.open--; return nil }

func (h *fakeHost) dial(context.Context) (remote.Conn, error) {
	h.said = append(h.said, "dial")
	if h.gone && len(h.said) > 1 {
		return nil, &remote.ConnectError{Kind: remote.Unreachable, Host: "host"}
	}
	h.open++
	return fakeConn{h: h}, nil
}

type fakeSession struct {
	h      *fakeHost
	closed bool
}

func (s *fakeSession) Closed() bool { return s.closed }
func (s *fakeSession) Close() error { s.closed = true; return nil }
func (s *fakeSession) Registration(context.Context, microvm.StorePath) (io.Reader, error) {
	return strings.NewReader("r"), nil
}

func (s *fakeSession) Call(_ context.Context, req hostapi.Request, answer any) error {
	h := s.h
	kind := map[bool]string{req.Probe != nil: "probe", req.Check != nil: "check", req.Observe != nil: "observe", req.Commit != nil: "commit",
		req.Finish != nil: "finish", req.Undo != nil: "undo", req.Reboot != nil: "reboot", req.Resume != nil: "resume"}[true]
	h.said = append(h.said, kind)
	if kind == "resume" {
		*answer.(*hostapi.Resumed) = h.resumed
		return nil
	}
	what := ""
	if len(h.answers) > 0 {
		what, h.answers = h.answers[0], h.answers[1:]
	}
	switch what {
	case "lost":
		s.closed = true
		return fmt.Errorf("gone: %w", &hostclient.LostError{})
	case "fails":
		return &hostapi.Failure{Message: "no"}
	}
	if f, ok := answer.(*hostapi.Facts); ok {
		f.Protocol, f.NoNixDaemon = hostapi.ProtocolVersion, what == "no nix-daemon"
	}
	if u, ok := answer.(*hostapi.Undone); ok {
		u.State = "put back"
	}
	return nil
}

type voice struct{ said []string }

func (v *voice) say(format string, a ...any) { v.said = append(v.said, fmt.Sprintf(format, a...)) }
func (v *voice) Step(f string, a ...any)     { v.say(f, a...) }
func (v *voice) Detail(f string, a ...any)   { v.say(f, a...) }
func (v *voice) Warn(f string, a ...any)     { v.say(f, a...) }
func (v *voice) Log() io.WriteCloser         { return nil }

func (h *fakeHost) link() *Link {
	return &Link{Report: &voice{}, VM: "web", ID: "id", Dial: h.dial, Open: func(context.Context, remote.Conn, hostclient.Options) (Session, bool, error) {
		return &fakeSession{h: h}, true, nil
	}}
}

// Where a command over SSH finds no nix-daemon, Nix can't copy by itself: what goes
// there goes through the helper, which knows where Nix is.
func TestNixOffThePATHIsWorkedAround(t *testing.T) {
	for answer, want := range map[string]bool{"": false, "no nix-daemon": true} {
		h := &fakeHost{answers: []string{answer}}
		l := h.link()
		if err := l.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Probe(t.Context(), hostapi.ProbeRequest{}); err != nil {
			t.Fatal(err)
		}
		if l.Streams() != want {
			t.Errorf("%q: through the helper: %v", answer, !want)
		}
	}
}

// What was asked for when the connection was lost is asked for again, or was done:
// the host tells.
func TestAskingOverALostConnection(t *testing.T) {
	commit := func(ctx context.Context, l *Link) error {
		_, ended, err := l.Commit(ctx, hostapi.CommitRequest{})
		if ended {
			return errors.Join(errors.New("ended"), err)
		}
		return err
	}
	finish := func(ctx context.Context, l *Link) error { return l.Finish(ctx, "switched") }
	undo := func(ctx context.Context, l *Link) error {
		state, err := l.Undo(ctx, "why", errors.New("cause"))
		if err == nil && state == "" {
			err = errors.New("without a state")
		}
		return err
	}
	reboot := func(ctx context.Context, l *Link) error {
		_, err := l.Reboot(ctx, hostapi.RebootRequest{ID: "id"})
		return err
	}
	observe := func(ctx context.Context, l *Link) error { l.Observed(ctx, "/s", false); return nil }
	check := func(ctx context.Context, l *Link) error {
		return l.Check(ctx, health.Checks{TCP: []string{"a:1"}}, time.Now().Add(time.Minute))
	}
	for _, c := range []struct {
		name    string
		do      func(context.Context, *Link) error
		answers []string
		resumed hostapi.Resumed
		gone    bool
		said    string
		err     string
	}{
		{name: "commit", do: commit, said: "commit"},
		{name: "commit fails", do: commit, answers: []string{"fails"}, said: "commit", err: "no"},
		{name: "commit never arrived", do: commit, answers: []string{"lost"}, said: "commit dial resume commit"},
		{name: "commit was made and waits", do: commit, answers: []string{"lost"}, resumed: hostapi.Resumed{Phase: hostapi.PhaseAwait}, said: "commit dial resume"},
		{name: "commit was finished", do: commit, answers: []string{"lost"}, resumed: hostapi.Resumed{Outcome: "switched"}, said: "commit dial resume", err: "ended"},
		{name: "commit was undone", do: commit, answers: []string{"lost"}, resumed: hostapi.Resumed{Outcome: hostapi.OutcomeRolledBack}, said: "commit dial resume", err: "gone: "},
		{name: "commit, and the host is gone", do: commit, answers: []string{"lost"}, gone: true, err: "connecting again"},
		{name: "finish", do: finish, said: "finish"},
		{name: "finish never arrived", do: finish, answers: []string{"lost"}, said: "finish dial resume finish"},
		{name: "finish came too late", do: finish, answers: []string{"lost"}, resumed: hostapi.Resumed{Settled: hostapi.SettledUndone, Outcome: "x"}, said: "finish dial resume", err: "the connection was lost"},
		{name: "undo", do: undo, said: "undo"},
		{name: "undo never arrived", do: undo, answers: []string{"lost"}, said: "undo dial resume undo"},
		{name: "undo was made", do: undo, answers: []string{"lost"}, resumed: hostapi.Resumed{Outcome: hostapi.OutcomeRolledBack}, said: "undo dial resume", err: "cause"},
		{name: "reboot", do: reboot, said: "reboot"},
		{name: "reboot, lost twice", do: reboot, answers: []string{"lost", "lost"}, said: "reboot dial resume reboot dial resume reboot"},
		{name: "reboot, lost again and again", do: reboot, answers: []string{"lost", "lost", "lost", "lost", "lost"}, err: "gone: "},
		{name: "reboot, and it has ended", do: reboot, answers: []string{"lost"}, resumed: hostapi.Resumed{Outcome: hostapi.OutcomeInterrupted}, said: "reboot dial resume", err: "has ended meanwhile"},
		{name: "observe", do: observe, answers: []string{"lost"}, said: "observe dial resume observe"},
		{name: "check", do: check, answers: []string{"lost"}, said: "check dial resume check"},
		{name: "check fails", do: check, answers: []string{"fails"}, said: "check", err: "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &fakeHost{answers: c.answers, resumed: c.resumed, gone: c.gone}
				l := h.link()
				if err := l.Connect(t.Context()); err != nil {
					t.Fatal(err)
				}
				err := c.do(t.Context(), l)
				if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v", err)
				}
				if said := strings.Join(h.said, " "); c.said != "" && said != "dial "+c.said {
					t.Errorf("got %q", said)
				}
				l.Close()
				if h.open != 0 {
					t.Errorf("%d logins are open", h.open)
				}
			})
		})
	}
}

// A login that others use is used once, and never closed.
func TestSharedLoginStaysOpen(t *testing.T) {
	h := &fakeHost{answers: []string{"lost"}}
	shared := &fakeHost{open: 1}
	l := h.link()
	l.Shared = fakeConn{h: shared}
	err := l.Connect(t.Context())
	if err == nil {
		err = l.Finish(t.Context(), "switched")
	}
	l.Close()
	if err != nil || shared.open != 1 || h.open != 0 || h.said[1] != "dial" {
		t.Errorf("%v; %d of the shared are open, %d others; %q", err, shared.open, h.open, h.said)
	}
}

// A host that is asked about one deployment answers with that one.
func TestAnswersForWhatWasAsked(t *testing.T) {
	u := func(vm, id string) hostapi.Underway {
		return hostapi.Underway{Name: microvm.Name(vm), Deployment: hostapi.Deployment{ID: id}}
	}
	for _, c := range []struct {
		u      hostapi.Underway
		id, vm string
		ok     bool
	}{
		{u("web", "a-1"), "", "", true}, {u("web", "a-1"), "a-1", "web", true},
		{u("web", "a-1"), "a-2", "", false}, {u("db", "a-1"), "", "web", false},
		{u("web", "../x"), "", "", false}, {u("../web", "a"), "", "", false}, {u("web", ""), "", "", false},
	} {
		if err := (&Link{}).AnswersFor(c.u, c.id, microvm.Name(c.vm)); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
