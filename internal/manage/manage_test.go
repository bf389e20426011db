package manage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/deploy"
	"ferry/internal/flake"
	"ferry/internal/host"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// The test's own program is the helper that it starts: `host --attached ACT …`.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "host" {
		os.Exit(helper(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func helper(args []string) int {
	answers := host.NewAnswers(os.Stdout)
	if args[0] != "--attached" {
		answers.Fail(errors.New("not attached"))
		return 1
	}
	switch act := args[1]; act {
	case "echo":
		fmt.Println("a login banner")
		answers.Log("echoing")
		for _, a := range args[2:] {
			answers.Result(a)
		}
	case "fail":
		answers.Result("half")
		answers.Fail(hostapi.Refuse("no", "do it otherwise"))
		return 1
	case "mute":
	case "crash":
		fmt.Fprintln(os.Stderr, "out of memory")
		return 3
	case "hang":
		time.Sleep(time.Hour)
	case "long line":
		line := strings.Repeat("x", 1<<20)
		for {
			if _, err := fmt.Print(line); err != nil {
				return 1
			}
		}
	case "wait":
		answers.Result("begun")
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = os.WriteFile(args[2], []byte("in order"), 0o600)
		return 1
	}
	return 0
}

// reports collects what is said.
type reports struct{ steps, details, warnings []string }

func (r *reports) Step(subject, format string, args ...any) {
	r.steps = append(r.steps, subject+": "+fmt.Sprintf(format, args...))
}
func (r *reports) Detail(subject, format string, args ...any) {
	r.details = append(r.details, fmt.Sprintf(format, args...))
}
func (r *reports) Warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// fleets is a flake that counts how often it is asked.
type fleets struct {
	fleet flake.Fleet
	err   error
	asked int
}

func (f *fleets) Fleet(context.Context, flake.Source) (flake.Fleet, []string, error) {
	f.asked++
	return f.fleet, []string{"a warning"}, f.err
}

func address(t *testing.T, s string) microvm.Address {
	t.Helper()
	a, err := microvm.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		word, want string
		sudo       bool
		asked      int
	}{
		{"local", "local", false, 0},
		{"root@other", "root@other", false, 0},
		{"ssh://other:2222", "ssh://other:2222", false, 0},
		{"server1", "ops@server1.example.com", true, 1}, // a name wins over an alias
		{"alias", "alias", false, 1},
	} {
		f := &fleets{fleet: flake.Fleet{Hosts: map[string]flake.Host{"server1": {Address: address(t, "ops@server1.example.com"), Sudo: true}}}}
		m := &Manager{Report: &reports{}, Fleets: f, Source: flake.Source{Ref: "/infra"}}
		for range 2 { // the flake is asked once
			p, err := m.Place(t.Context(), c.word, false)
			if err != nil || p.Address != address(t, c.want) || p.Sudo != c.sudo || f.asked != c.asked {
				t.Errorf("%s: %+v, %v, asked %d times", c.word, p, err, f.asked)
			}
		}
		if p, _ := m.Place(t.Context(), c.word, true); !p.Sudo {
			t.Errorf("%s: --host-sudo is lost", c.word)
		}
	}
}

// A flake that can't be evaluated doesn't stand in the way of an address; where
// there is none, nothing is evaluated.
func TestPlaceWithoutFlake(t *testing.T) {
	r := &reports{}
	m := &Manager{Report: r, Fleets: &fleets{err: errors.New("broken\nmuch more")}, Source: flake.Source{Ref: "/infra"}}
	if p, err := m.Place(t.Context(), "alias", false); err != nil || p.Address.Host != "alias" {
		t.Errorf("%+v, %v", p, err)
	}
	if len(r.warnings) != 2 || !strings.HasSuffix(r.warnings[1], ": broken") {
		t.Errorf("warnings %q", r.warnings)
	}
	t.Chdir(t.TempDir())
	f := &fleets{}
	m = &Manager{Report: r, Fleets: f, Source: flake.Source{Ref: "."}}
	if _, err := m.Place(t.Context(), "alias", false); err != nil || f.asked != 0 {
		t.Errorf("%v, asked %d times", err, f.asked)
	}
	var usage *deploy.UsageError
	if _, err := m.PlaceOf(t.Context(), "web", "", false); !errors.As(err, &usage) || f.asked != 0 {
		t.Errorf("the host of a VM: %v", err)
	}
	if _, err := m.Place(t.Context(), "-oProxyCommand=x", false); !errors.As(err, &usage) {
		t.Errorf("an option: %v", err)
	}
	if err := os.WriteFile("flake.nix", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("below", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir("below")
	if _, err := m.Place(t.Context(), "alias", false); err != nil || f.asked != 1 {
		t.Errorf("below a flake: %v, asked %d times", err, f.asked)
	}
}

func TestPlaceOf(t *testing.T) {
	target := address(t, "root@web")
	f := &fleets{fleet: flake.Fleet{
		Hosts: map[string]flake.Host{"server1": {Address: address(t, "root@server1")}},
		VMs:   map[microvm.Name]flake.VM{"web": {Host: "server1", Target: &target, TargetSudo: true}, "lone": {}},
	}}
	m := &Manager{Report: &reports{}, Fleets: f, Source: flake.Source{Ref: "/infra"}}
	if p, err := m.PlaceOf(t.Context(), "web", "", false); err != nil || p.String() != "server1" || p.Address.Host != "server1" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := m.PlaceOf(t.Context(), "web", "root@other", false); err != nil || p.String() != "root@other" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, vm := range []microvm.Name{"lone", "unknown"} {
		var usage *deploy.UsageError
		if _, err := m.PlaceOf(t.Context(), vm, "", false); !errors.As(err, &usage) || !strings.Contains(usage.Next, "ferry.vms."+string(vm)) {
			t.Errorf("%s: %v", vm, err)
		}
	}
	if vm := m.VM(t.Context(), "web"); vm.Target == nil || *vm.Target != target || !vm.TargetSudo {
		t.Errorf("the flake says %+v", vm)
	}
	if vm := m.VM(t.Context(), "unknown"); vm.Target != nil {
		t.Errorf("the flake says %+v", vm)
	}
}

// here is this machine as a host, with the test's program as the helper.
func here(t *testing.T) (*Host, *reports) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, as which a helper runs")
	}
	r := &reports{}
	h, err := (&Manager{Report: r}).Connect(t.Context(), Place{Address: microvm.Address{Local: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h, r
}

func TestRun(t *testing.T) {
	h, r := here(t)
	var answer string
	if err := h.Run(t.Context(), "web", &answer, "echo", "one; two"); err != nil || answer != "one; two" {
		t.Errorf("%q, %v", answer, err)
	}
	if len(r.steps) != 1 || r.steps[0] != "web: echoing" || len(r.details) != 1 || r.details[0] != "a login banner" {
		t.Errorf("steps %q, details %q", r.steps, r.details)
	}
	var f *hostapi.Failure
	if err := h.Run(t.Context(), "", &answer, "fail"); !errors.As(err, &f) || f.Message != "no" || f.Hint == "" {
		t.Errorf("a refusal: %v", err)
	}
	if err := h.Run(t.Context(), "", &answer, "mute"); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("no answer: %v", err)
	}
	if err := h.Run(t.Context(), "", nil, "mute"); err != nil {
		t.Errorf("none wanted: %v", err)
	}
	if err := h.Run(t.Context(), "", nil, "crash"); err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("a crash: %v", err)
	}
	if err := h.Run(t.Context(), "", new(int), "echo", "text"); err == nil || !strings.Contains(err.Error(), "reading the answer") {
		t.Errorf("another type: %v", err)
	}
}

// A run that is interrupted tells the helper and waits until it has put things
// in order.
func TestInterruptedRunWaits(t *testing.T) {
	h, _ := here(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "order")
	err := h.Stream(ctx, "", func(json.RawMessage) error { cancel(); return nil }, "wait", file)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "in order" {
		t.Error("the helper was not waited for")
	}
}

// What a host sends is bounded, whatever it is, and read no further.
func TestEndlessAnswersEnd(t *testing.T) {
	result := `{"event":"result","result":{"name":"web"}}` + "\n"
	for name, c := range map[string]struct{ line, says string }{
		"answers":            {result, "sends more than 10 answers"},
		"big answers":        {`{"event":"result","result":"` + strings.Repeat("x", 600<<10) + "\"}\n", "sends answers of more than 2 MiB"},
		"log lines":          {`{"event":"log","line":"` + strings.Repeat("x", 600<<10) + "\"}\n", "sends more than 1 MiB that nobody asked for"},
		"words":              {strings.Repeat("x", 600<<10) + "\n", "sends more than 1 MiB that nobody asked for"},
		"signs of life":      {`{"event":"alive"}` + strings.Repeat(" ", 600<<10) + "\n", "sends more than 1 MiB that nobody asked for"},
		"a line without end": {"x", "sends a line of more than 1 MiB"},
	} {
		h := &Host{Place: Place{Name: "host1"}, report: &reports{}, limits: usualLimits}
		h.limits.line, h.limits.talk = 1<<20, 1<<20
		out := &repeated{text: c.line}
		r := &reading{h: h, each: func(json.RawMessage) error { return nil }, maxAnswers: 10, maxBytes: 2 << 20}
		_, err := r.read(out, func(error) {})
		if err == nil || !strings.HasPrefix(err.Error(), "host1 "+c.says) || strings.Contains(err.Error(), "bufio") {
			t.Errorf("%s: %v", name, err)
		}
		if out.read > 4<<20 {
			t.Errorf("%s: %d bytes were read", name, out.read)
		}
	}
	h := &Host{report: &reports{}, limits: usualLimits}
	lines := 0
	r := &reading{h: h, each: func(json.RawMessage) error { lines++; return nil }} // a journal that is followed
	if _, err := r.read(strings.NewReader(strings.Repeat(result, 20_000)), func(error) {}); err != nil || lines != 20_000 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// repeated is a text again and again, without end.
type repeated struct {
	text string
	read int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		took := copy(p[n:], r.text[r.read%len(r.text):])
		r.read, n = r.read+took, n+took
	}
	return n, nil
}

// A helper that says nothing is ended; one that shows that it lives is not, nor
// one whose answers take the reader long.
func TestSilentHelperIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Host{Place: Place{Name: "host1"}, report: &reports{}, limits: usualLimits}
		for begins, c := range map[bool]struct {
			after time.Duration
			says  string
		}{
			false: {usualLimits.greeting, "host1: ferry's helper does not answer (waited 1m0s)"},
			true:  {40*time.Minute + time.Hour + usualLimits.silence, "host1: ferry's helper says nothing any more (waited 5m0s)"},
		} {
			out, helper := io.Pipe()
			go func() {
				for range 10 {
					if begins {
						_, _ = io.WriteString(helper, `{"event":"alive"}`+"\n")
						time.Sleep(4 * time.Minute)
					}
				}
				if begins {
					_, _ = io.WriteString(helper, `{"event":"result","result":1}`+"\n")
				}
			}()
			begin := time.Now()
			r := &reading{h: h, each: func(json.RawMessage) error { time.Sleep(time.Hour); return nil }}
			var why error
			_, err := r.read(out, func(cause error) { why = cause; _ = helper.CloseWithError(cause) })
			var hint interface{ Hint() string }
			if err == nil || why == nil || why.Error() != c.says || !errors.As(why, &hint) || time.Since(begin) != c.after {
				t.Errorf("after %s: %v, %v", time.Since(begin), err, why)
			}
		}
	})
}

// A helper that hangs, at its beginning or its end, keeps nobody waiting.
func TestHangingHelper(t *testing.T) {
	h, _ := here(t)
	h.limits.greeting = 200 * time.Millisecond
	var silent *silentError
	if err := h.Run(t.Context(), "", nil, "hang"); !errors.As(err, &silent) {
		t.Errorf("got %v", err)
	}
	h.limits = usualLimits
	err := h.Run(t.Context(), "", nil, "long line")
	if err == nil || !strings.Contains(err.Error(), "a line of more than 8 MiB") {
		t.Errorf("got %v", err)
	}
}

// An error of the one who reads ends the helper.
func TestStreamStops(t *testing.T) {
	h, _ := here(t)
	enough := errors.New("enough")
	calls := 0
	err := h.Stream(t.Context(), "", func(json.RawMessage) error { calls++; return enough }, "echo", "a", "b")
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// Whatever a host prints, reading it ends, and a failure has a reason.
func FuzzRead(f *testing.F) {
	f.Add(`{"event":"result","result":{"a":1}}` + "\n" + `{"event":"error"}`)
	f.Add(`{"event":"error","error":{"kind":"locked","message":"x"}}`)
	f.Add("\x00\n{}\n[1]\n{\"event\":\"log\",\"line\":\"\\u001b[2J\"}")
	f.Fuzz(func(t *testing.T, output string) {
		h := &Host{report: &reports{}, limits: usualLimits}
		answers := 0
		r := &reading{h: h, each: func(json.RawMessage) error { answers++; return nil }}
		failure, err := r.read(strings.NewReader(output), func(error) {})
		if err == nil && answers > strings.Count(output, "\n")+1 {
			t.Errorf("%d answers in %q", answers, output)
		}
		if failure != nil && failure.Error() == "" && !strings.Contains(output, `"error"`) {
			t.Errorf("an empty failure from %q", output)
		}
	})
}
