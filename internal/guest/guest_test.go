package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"ferry/internal/remote"
)

// scripted is a guest that prints what it is told, MARKER replaced.
type scripted struct {
	output string
	err    error
	args   []string
	stdin  string
}

func (s *scripted) Run(_ context.Context, c remote.Command) error {
	s.args = c.Args
	if c.Stdin != nil {
		b, _ := io.ReadAll(c.Stdin)
		s.stdin = string(b)
	}
	marker := c.Args[4]
	// In pieces, as a network delivers it.
	for chunk := range strings.SplitAfterSeq(strings.ReplaceAll(s.output, "MARKER", marker), "=") {
		if _, err := io.WriteString(c.Stdout, chunk); err != nil {
			return err
		}
	}
	return s.err
}

const system = "/nix/store/1111111111111111111111111111111a-nixos-system-web"

func TestLookReadsAnswers(t *testing.T) {
	g := &scripted{output: "Welcome!\nMARKER hostname=web\nMARKER boot=b1\nMARKER uid=0\nMARKER current=" + system + "\nMARKER booted=/etc/shadow\nMARKER store=yes\nMARKER systemd=yes\n"}
	f, err := Look(t.Context(), g, "")
	if err != nil {
		t.Fatal(err)
	}
	if f.HostName != "web" || f.BootID != "b1" || !f.Root || f.Current != system || f.Booted != "" || !f.HasStore || !f.Systemd {
		t.Errorf("got %+v", f)
	}
	if _, err := Look(t.Context(), &scripted{output: "no shell here\n"}, ""); err == nil {
		t.Error("an answer without a boot id was accepted")
	}
}

// What a switch prints is never taken for ferry's own answers: they carry a
// marker that it can't guess.
func TestOutputCannotPassForAnAnswer(t *testing.T) {
	var log bytes.Buffer
	g := &scripted{output: "ferry status=0\nferry-000 status=0\nlast words\n\nMARKER status=4\n"}
	status, offset, err := Follow(t.Context(), g, "id", 10, &log)
	if err != nil || status.Code != 4 {
		t.Fatalf("got %+v, %v", status, err)
	}
	if !strings.Contains(log.String(), "ferry status=0") || !strings.Contains(log.String(), "last words") {
		t.Errorf("the log lacks lines: %q", log.String())
	}
	if offset <= 10 {
		t.Errorf("offset %d", offset)
	}
}

func TestFollowGoesOnWhereItStopped(t *testing.T) {
	lost := errors.New("connection lost")
	_, offset, err := Follow(t.Context(), &scripted{output: "one\ntw", err: lost}, "id", 0, nil)
	if !errors.Is(err, lost) || offset != int64(len("one\ntw")) {
		t.Fatalf("offset %d, %v", offset, err)
	}
	g := &scripted{output: "o\nMARKER status=died\n"}
	status, _, err := Follow(t.Context(), g, "id", offset, nil)
	if err != nil || !status.Died {
		t.Fatalf("got %+v, %v", status, err)
	}
	if g.args[len(g.args)-2] != fmt.Sprint(offset) {
		t.Errorf("asked with %q", g.args[5:])
	}
	if status, _, _ := Follow(t.Context(), &scripted{output: "MARKER status=unknown\n"}, "id", 0, nil); !status.Lost {
		t.Errorf("got %+v", status)
	}
}

func TestStartSendsTheRegistration(t *testing.T) {
	g := &scripted{output: "MARKER started=id\n"}
	sw := Switch{ID: "id", System: system, Action: "switch", HostName: "web", Registration: strings.NewReader("closure")}
	if err := Start(t.Context(), g, sw); err != nil {
		t.Fatal(err)
	}
	if g.stdin != "closure" || g.args[9] != "-" {
		t.Errorf("sent %q with %q", g.stdin, g.args[5:10])
	}
	var refused *RefusedError
	if err := Start(t.Context(), &scripted{output: "MARKER refused=this machine is db, not web\n"}, sw); !errors.As(err, &refused) || !strings.Contains(err.Error(), "db, not web") {
		t.Errorf("got %v", err)
	}
	if err := Start(t.Context(), &scripted{output: "MARKER started=other\n"}, sw); err == nil {
		t.Error("another deployment's switch was taken for ours")
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add("MARKER status=0\nx", 3)
	f.Fuzz(func(t *testing.T, output string, cut int) {
		said := map[string]string{}
		var log bytes.Buffer
		a := &answers{marker: []byte("MARKER "), said: said, log: &log}
		cut = max(0, min(cut, len(output)))
		_, _ = a.Write([]byte(output[:cut]))
		_, _ = a.Write([]byte(output[cut:]))
		a.flush()
		if a.other > int64(len(output)) {
			t.Errorf("counted %d of %d bytes", a.other, len(output))
		}
		if !strings.Contains(output, "MARKER ") && (len(said) > 0 || a.other != int64(len(output))) {
			t.Errorf("without a marker: %v, %d bytes of %d", said, a.other, len(output))
		}
	})
}

// A guest that never stops talking is not listened to for ever, and nothing of it
// is kept.
func TestFloodIsBounded(t *testing.T) {
	said, flooded := map[string]string{}, 0
	a := &answers{marker: []byte("MARKER "), said: said, flood: func() { flooded++ }}
	for i := range 100_000 {
		_, _ = fmt.Fprintf(a, "MARKER key%d=%s\n", i, strings.Repeat("x", 100))
	}
	if len(said) > maxAnswers || flooded > 0 {
		t.Errorf("%d answers are kept, flooded %d", len(said), flooded)
	}
	block := bytes.Repeat([]byte("y"), 1<<20)
	for range 8 { // one line without end
		_, _ = a.Write(block)
		if len(a.rest) > maxLine {
			t.Fatalf("%d bytes are held", len(a.rest))
		}
	}
	if flooded == 0 {
		t.Error("nobody noticed")
	}
	var e end
	_, _ = e.Write(block)
	_, _ = e.Write([]byte("the end"))
	if len(e.kept) != maxEnd || !bytes.HasSuffix(e.kept, []byte("the end")) {
		t.Errorf("kept %d bytes", len(e.kept))
	}
}
