package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/remote"
)

// scripted is a guest that prints what it is told, MARKER replaced.
type scripted struct {
	noise  string // of the login shell, before the script begins
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
	if _, err := io.WriteString(c.Stdout, s.noise+"\n"+marker+" begun=\n"); err != nil {
		return err
	}
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

// What a login shell prints before is no output of the switch: it is not shown,
// and not counted.
func TestNoiseOfALoginShellIsNotCounted(t *testing.T) {
	var log bytes.Buffer
	g := &scripted{noise: "Welcome to web\nno end of a line", output: "switching\nMARKER status=0\n"}
	status, offset, err := Follow(t.Context(), g, "id", 10, &log)
	if err != nil || status.Code != 0 || offset != 10+int64(len("switching\n")) || log.String() != "switching\n" {
		t.Errorf("%+v, offset %d, log %q, %v", status, offset, log.String(), err)
	}
}

// hanging is a guest that sends pieces of output, and then nothing until it is
// ended. Each piece may wait before.
type hanging struct {
	pieces []string
	wait   time.Duration
	stderr bool
}

func (h *hanging) Run(ctx context.Context, c remote.Command) error {
	for _, piece := range h.pieces {
		time.Sleep(h.wait)
		to := c.Stdout
		if h.stderr && !strings.Contains(piece, "MARKER") {
			to = c.Stderr
		}
		if _, err := io.WriteString(to, strings.ReplaceAll(piece, "MARKER", c.Args[4])); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// No guest keeps ferry waiting for ever: not by its login shell, nor by silence.
func TestSilentGuestIsLeft(t *testing.T) {
	const begin = "MARKER begun=\n"
	many := func(s string, n int) []string { return slices.Repeat([]string{s}, n) }
	for name, c := range map[string]struct {
		guest  *hanging
		follow bool
		after  time.Duration
		says   string
		shell  bool
	}{
		"a start-up file that waits":   {&hanging{}, false, beginLimit, "has not come to ferry's command", true},
		"one that prints a little":     {&hanging{pieces: many("wait\n", 1000), wait: time.Second}, false, beginLimit, "has not come to ferry's command", true},
		"one that prints without end":  {&hanging{pieces: many(strings.Repeat("x", 8<<10)+"\n", 1000)}, true, 0, "prints more than 64 KiB", true},
		"a script that says nothing":   {&hanging{pieces: []string{begin}}, false, lookSilence, "says nothing any more", false},
		"a switch that shows its life": {&hanging{pieces: append([]string{begin}, many("\n", 100)...), wait: time.Minute - 1, stderr: true}, true, 101*(time.Minute-1) + followSilence, "says nothing any more", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var err error
				if c.follow {
					_, _, err = Follow(t.Context(), c.guest, "id", 0, io.Discard)
				} else {
					_, err = Look(t.Context(), c.guest, "")
				}
				var shell *remote.ShellError
				took := time.Since(start) - c.after // the guest notices after its next word
				if err == nil || !strings.Contains(err.Error(), c.says) || errors.As(err, &shell) != c.shell || took < 0 || took > c.guest.wait {
					t.Errorf("%s after the limit: %v", took, err)
				}
			})
		})
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
		a := &answers{marker: []byte("MARKER "), said: said, log: &log, begun: true}
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
	a := &answers{marker: []byte("MARKER "), said: said, flood: func(error) { flooded++ }, begun: true}
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
