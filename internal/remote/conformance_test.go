//go:build lab

package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/remote/remotetest"

	"ferry/internal/microvm"
)

// TestConformance holds every transport to the same behaviour.
func TestConformance(t *testing.T) {
	transports := map[string]func(t *testing.T) Conn{
		"local": func(t *testing.T) Conn { return dial(t, Options{Address: microvm.Address{Local: true}}) },
		"ssh":   func(t *testing.T) Conn { return dial(t, onSSHD(t)) },
	}
	cases := []struct {
		name string
		run  func(t *testing.T, c Conn)
	}{
		{"words arrive as they are", testWords},
		{"exit code and messages", testExit},
		{"a missing program", testMissing},
		{"large input and output", testLarge},
		{"no input is an end of file", testNoInput},
		{"pipes", testPipes},
		{"interrupted", testInterrupt},
		{"interrupted process sees its input end", testInterruptedInput},
		{"many at once", testMany},
		{"a stop while waiting for a session", testFull},
		{"bad commands", testBad},
	}
	for name, connect := range transports {
		t.Run(name, func(t *testing.T) {
			c := connect(t)
			for _, tc := range cases {
				t.Run(tc.name, func(t *testing.T) { tc.run(t, c) })
			}
		})
	}
}

func testWords(t *testing.T, c Conn) {
	args := append([]string{"printf", `%s\0`}, awkward...)
	got := output(t, c, args...)
	if want := strings.Join(awkward, "\x00") + "\x00"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func testExit(t *testing.T, c Conn) {
	for _, code := range []int{1, 3, 254, 255} {
		var out, messages bytes.Buffer
		script := `echo out; echo "Connection closed by me" >&2; exit ` + strconv.Itoa(code)
		err := c.Run(remotetest.Within(t, 10*time.Second), Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &messages})
		var e *ExitError
		if !errors.As(err, &e) {
			t.Fatalf("exit %d: got %v (%T)", code, err, err)
		}
		if e.Code != code || e.Stderr != "Connection closed by me" || out.String() != "out\n" || messages.String() != "Connection closed by me\n" {
			t.Errorf("exit %d: %#v, output %q, messages %q", code, e, out.String(), messages.String())
		}
		if !strings.Contains(e.CommandLine, "sh -c 'echo out") || e.Host != c.Address().String() {
			t.Errorf("shown as %q on %q", e.CommandLine, e.Host)
		}
	}
	err := c.Run(remotetest.Within(t, 10*time.Second), Command{Args: []string{"sh", "-c", "yes 12345678 | head -n 100000 >&2; echo the last >&2; exit 1"}})
	var e *ExitError
	if !errors.As(err, &e) || len(e.Stderr) > tailSize || !strings.HasSuffix(e.Stderr, "12345678\nthe last") {
		t.Errorf("long messages: %.200v", err)
	}
}

func testMissing(t *testing.T, c Conn) {
	err := c.Run(remotetest.Within(t, 10*time.Second), Command{Args: []string{"ferry-no-such-program"}})
	var e *ExitError
	if !errors.As(err, &e) || e.Code != 127 || !strings.Contains(e.Stderr, "not found") {
		t.Errorf("got %v", err)
	}
}

func testLarge(t *testing.T, c Conn) {
	in := bytes.Repeat([]byte("0123456789abcde\n"), 256<<10) // 4 MiB
	var out bytes.Buffer
	if err := c.Run(remotetest.Within(t, 30*time.Second), Command{Args: []string{"cat"}, Stdin: bytes.NewReader(in), Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(in, out.Bytes()) {
		t.Errorf("%d bytes came back from %d, or others", out.Len(), len(in))
	}
}

func testNoInput(t *testing.T, c Conn) {
	if got := output(t, c, "cat"); got != "" {
		t.Errorf("got %q", got)
	}
}

func testPipes(t *testing.T, c Conn) {
	p, err := c.Start(remotetest.Within(t, 10*time.Second), Command{Args: []string{"sh", "-c", "read a; echo got $a; cat; exit 7"}})
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("got this\n"))
	_, _ = io.WriteString(p.Stdin, "this\n")
	if _, err := io.ReadFull(p.Stdout, answer); err != nil || string(answer) != "got this\n" {
		t.Fatalf("%q, %v", answer, err)
	}
	_, _ = io.WriteString(p.Stdin, "rest")
	_ = p.Stdin.Close()
	var e *ExitError
	if err := p.Wait(); !errors.As(err, &e) || e.Code != 7 {
		t.Errorf("Wait: %v", err)
	}
	// Output written before the end is still there after Wait.
	if rest, err := io.ReadAll(p.Stdout); string(rest) != "rest" || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
}

func testInterrupt(t *testing.T, c Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	p, err := c.Start(ctx, Command{Args: []string{"sh", "-c", "echo started; exec sleep 60"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(p.Stdout, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	cancel()
	if err := p.Wait(); !errors.Is(err, context.Canceled) || time.Since(begin) > grace {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	if _, err := io.ReadAll(p.Stdout); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// A remote command is not signalled; it has to see that nobody is there.
func testInterruptedInput(t *testing.T, c Conn) {
	gone := filepath.Join(t.TempDir(), "gone")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := c.Start(ctx, Command{Args: []string{"sh", "-c", `trap "" TERM; echo started; cat; : >"$0"`, gone}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(p.Stdout, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	cancel()
	remotetest.WaitFor(t, "the command sees the end of its input", func() bool { _, err := os.Stat(gone); return err == nil })
	if err := p.Wait(); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("Wait: %v", err)
	}
}

func testMany(t *testing.T, c Conn) {
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			var out bytes.Buffer
			err := c.Run(remotetest.Within(t, 30*time.Second), Command{Args: []string{"echo", strconv.Itoa(i)}, Stdout: &out})
			if err != nil || out.String() != strconv.Itoa(i)+"\n" {
				t.Errorf("%d: %q, %v", i, out.String(), err)
			}
		})
	}
	all.Wait()
}

func testFull(t *testing.T, c Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running []*Process
	for range maxSessions {
		p, err := c.Start(ctx, Command{Args: []string{"cat"}})
		if err != nil {
			t.Fatal(err)
		}
		running = append(running, p)
	}
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if err := c.Run(short, Command{Args: []string{"true"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one too many: %v", err)
	}
	for _, p := range running {
		_ = p.Stdin.Close()
		if err := p.Wait(); err != nil {
			t.Error(err)
		}
	}
	_ = output(t, c, "true")
}

func testBad(t *testing.T, c Conn) {
	ctx := remotetest.Within(t, 10*time.Second)
	for name, args := range map[string][]string{"none": nil, "empty": {""}, "NUL": {"echo", "a\x00b"}, "too long": {"echo", strings.Repeat("x", 200<<10)}} {
		if err := c.Run(ctx, Command{Args: args}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := c.Start(ctx, Command{Args: []string{"cat"}, Stdin: strings.NewReader("")}); err == nil {
		t.Error("Start with Stdin: no error")
	}
}
