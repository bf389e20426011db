package manage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/hostclient/hostclienttest"
	"ferry/internal/remote"
	"ferry/internal/timers"
)

// fakeHost is a host whose helper follows a script.
func fakeHost(t *testing.T) (*Host, *hostclienttest.Helper, *reports) {
	t.Helper()
	helper, r := hostclienttest.New(t), &reports{}
	return &Host{Place: Place{Name: "host1"}, report: r, open: helper.Open}, helper, r
}

// want fails the test of a request that is not the wanted one.
func want(c hostapi.Commands) func(hostapi.Request) error {
	return func(r hostapi.Request) error {
		if !reflect.DeepEqual(r.Commands, c) {
			return fmt.Errorf("got %+v", r.Commands)
		}
		return nil
	}
}

// What is asked for reaches the host, and its answer comes back.
func TestCommands(t *testing.T) {
	var life hostapi.LifeRequest
	claimed := func(r hostapi.Request) error {
		for _, got := range []*hostapi.LifeRequest{r.Start, r.Stop, r.Restart} {
			if got != nil {
				life = *got
			}
		}
		if r.Remove != nil {
			life = r.Remove.LifeRequest
		}
		if life.Name != "web" || life.By == "" || life.WaitSeconds != 2 {
			return fmt.Errorf("got %+v", life)
		}
		return nil
	}
	h, helper, _ := fakeHost(t)
	ctx := t.Context()
	for verb, kind := range map[hostapi.Action]string{hostapi.ActionStart: "start", hostapi.ActionStop: "stop", hostapi.ActionRestart: "restart"} {
		helper.Expect(kind).With(claimed).Answer(hostapi.Life{VM: "web", Outcome: kind})
		if l, err := h.Live(ctx, "web", verb, 1500*time.Millisecond); err != nil || l.Outcome != kind {
			t.Errorf("%s: %+v, %v", verb, l, err)
		}
	}
	if _, err := h.Live(ctx, "web", "explode", 0); err == nil {
		t.Error("explode was asked for")
	}
	helper.Expect("remove").With(claimed).Answer(hostapi.Removal{VM: "web", Removed: true})
	if r, err := h.Remove(ctx, "web", true, 2*time.Second); err != nil || !r.Removed {
		t.Errorf("%+v, %v", r, err)
	}
	helper.Expect("remove").With(func(r hostapi.Request) error {
		if !r.Remove.Look {
			return errors.New("it was to look only")
		}
		return nil
	}).Answer(hostapi.Removal{VM: "web", Running: true})
	if r, err := h.LookRemove(ctx, "web"); err != nil || !r.Running {
		t.Errorf("%+v, %v", r, err)
	}
	helper.Expect("autostart").With(want(hostapi.Commands{Autostart: &hostapi.AutostartRequest{Name: "web", On: true}})).Answer(hostapi.Autostarted{VM: "web", On: true})
	if now, err := h.Autostart(ctx, "web", true); err != nil || !now.On {
		t.Errorf("%+v, %v", now, err)
	}
	helper.Expect("history").With(want(hostapi.Commands{History: &hostapi.HistoryRequest{Name: "web", Last: 3}})).Answer(hostapi.History{VM: "web", Broken: 1})
	if got, err := h.History(ctx, "web", 3); err != nil || got.Broken != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	helper.Expect("generations").Answer([]hostapi.Generation{{Number: 4}})
	if gens, err := h.Generations(ctx, "web"); err != nil || len(gens) != 1 || gens[0].Number != 4 {
		t.Errorf("%+v, %v", gens, err)
	}
	helper.Expect("diff").With(want(hostapi.Commands{Diff: &hostapi.DiffRequest{Name: "web", Generations: []int{1, 2}}})).Answer(hostapi.Diff{VM: "web", Same: true})
	if d, err := h.Diff(ctx, "web", 1, 2); err != nil || !d.Same {
		t.Errorf("%+v, %v", d, err)
	}
	if !slices.Contains(helper.Kinds(), "generations") {
		t.Errorf("asked was %q", helper.Kinds())
	}
}

// What comes in parts is handed on part by part, and bounded.
func TestCommandsThatAnswerInParts(t *testing.T) {
	h, helper, _ := fakeHost(t)
	helper.Expect("list").With(want(hostapi.Commands{List: &hostapi.ListRequest{Check: true, Except: []string{"db"}}})).Item(hostapi.Listed{Name: "a"}).Item(hostapi.Listed{Name: "b"})
	var names []string
	err := h.List(t.Context(), hostapi.ListRequest{Check: true, Except: []string{"db"}}, func(v hostapi.Listed) error { names = append(names, v.Name); return nil })
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%q, %v", names, err)
	}
	lines := func(n int) *hostclienttest.Request {
		r := helper.Expect("logs")
		for range n {
			r.Item(hostapi.LogLine{Line: "x"})
		}
		return r
	}
	got := 0
	each := func(hostapi.LogLine) error { got++; return nil }
	lines(2)
	if err := h.Logs(t.Context(), "web", 2, false, each); err != nil || got != 2 {
		t.Errorf("%d lines, %v", got, err)
	}
	lines(3)
	if err := h.Logs(t.Context(), "web", 2, false, each); err == nil || err.Error() != "host1 sends more than 2 answers: that is not ferry's helper" {
		t.Errorf("more than was asked for: %v", err)
	}
	lines(3)
	if err := h.Logs(t.Context(), "web", 2, true, each); err != nil {
		t.Errorf("followed: %v", err)
	}
	enough := errors.New("enough")
	lines(1)
	if err := h.Logs(t.Context(), "web", 2, true, func(hostapi.LogLine) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	helper.Expect("list").Item("no VM")
	if err := h.List(t.Context(), hostapi.ListRequest{}, func(hostapi.Listed) error { return nil }); err == nil || errors.Is(err, enough) {
		t.Errorf("another type: %v", err)
	}
}

func TestRecordedTarget(t *testing.T) {
	h, helper, _ := fakeHost(t)
	for said, want := range map[string]string{"": "", "root@web:2222": "", "ssh://root@web:2222": "ssh://root@web:2222", "local": "", "-oProxyCommand=x": ""} {
		helper.Expect("target").Answer(said)
		a, err := h.RecordedTarget(t.Context(), "web")
		switch {
		case want != "" && (err != nil || a.String() != want):
			t.Errorf("%q: %v, %v", said, a, err)
		case want == "" && a != nil:
			t.Errorf("%q: %v", said, a)
		case said == "local" && err == nil, said == "" && err != nil:
			t.Errorf("%q: %v", said, err)
		}
	}
}

// What must change nothing leaves no helper, either.
func TestLooksLeaveNoTrace(t *testing.T) {
	for name, look := range map[string]func(ctx context.Context, h *Host) error{
		"setup": func(ctx context.Context, h *Host) error { _, err := h.Setup(ctx, false, true); return err },
		"timer": func(ctx context.Context, h *Host) error {
			_, err := h.SetTimer(ctx, timers.Request{DryRun: true})
			return err
		},
		"timers": func(ctx context.Context, h *Host) error { _, err := h.Timers(ctx); return err },
	} {
		h, helper, _ := fakeHost(t)
		helper.Allow("setup")
		helper.Allow("timers").Answer(nil)
		if err := look(t.Context(), h); err != nil || !h.NoTrace {
			t.Errorf("%s: %v, no trace %t", name, err, h.NoTrace)
		}
	}
	h, helper, _ := fakeHost(t)
	helper.Expect("setup").With(want(hostapi.Commands{Setup: &hostapi.SetupRequest{Remove: true}}))
	if _, err := h.Setup(t.Context(), true, false); err != nil || h.NoTrace || h.Program != nil {
		t.Errorf("%v, no trace %t, another program than the helper %t", err, h.NoTrace, h.Program != nil)
	}
	// What is installed has to be there: ferry itself, where it can.
	helper.Expect("setup")
	if _, err := h.Setup(t.Context(), false, false); err != nil || h.Program == nil {
		t.Errorf("%v, another program than the helper %t", err, h.Program != nil)
	}
}

// What the helper says goes to the reporter, its reasons to the caller.
func TestWhatTheHelperSays(t *testing.T) {
	h, helper, r := fakeHost(t)
	helper.Expect("stop").Log("host", "stopping").Log("nix", "building").Log("", "a login banner").
		Fail(&hostapi.Failure{Kind: hostapi.KindLocked, Message: "no", Hint: "do it otherwise"})
	var f *hostapi.Failure
	if _, err := h.Live(t.Context(), "web", hostapi.ActionStop, 0); !errors.As(err, &f) || f.Message != "no" || f.Hint == "" {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(r.steps, []string{"web: stopping"}) || !slices.Equal(r.details, []string{"building", "a login banner"}) {
		t.Errorf("steps %q, details %q", r.steps, r.details)
	}
	helper.Expect("history").Lose()
	if _, err := h.History(t.Context(), "web", 1); err == nil || err.Error() != "the connection to host1 was lost: ferry's helper there ended without an answer" {
		t.Errorf("got %v", err)
	}
	helper.Refuse(errors.New("no route"))
	if _, err := h.History(t.Context(), "web", 1); err == nil || err.Error() != "no route" {
		t.Errorf("got %v", err)
	}
}

// Who is interrupted tells the helper, and waits until it has put things in order.
func TestInterruptedCommandWaits(t *testing.T) {
	h, helper, _ := fakeHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	never := make(chan struct{})
	helper.Expect("stop").Log("host", "stopping").After(never)
	h.report = cancelling{h.report, cancel}
	if _, err := h.Live(ctx, "web", hostapi.ActionStop, 0); !errors.Is(err, context.Canceled) || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
	if !helper.Ended() {
		t.Error("the helper was not waited for")
	}
	if _, err := h.Live(ctx, "web", hostapi.ActionStop, 0); !errors.Is(err, context.Canceled) || len(helper.Told()) != 1 {
		t.Errorf("once more: %v", err)
	}
}

// A helper that says nothing is given up, with a hint.
func TestSilentHelper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Host{Place: Place{Name: "host1"}, report: &reports{}, open: func(context.Context, remote.Conn, hostclient.Options) (*hostclient.Session, bool, error) {
			requests, stdin := io.Pipe()
			stdout, says := io.Pipe()
			go func() { _, _ = io.Copy(io.Discard, requests); _ = says.Close() }()
			return hostclient.New(hostclient.Peer{Address: "host1", Stdin: stdin, Stdout: stdout, Wait: func() error { return nil }, Kill: func() {}}, nil), false, nil
		}}
		_, err := h.History(t.Context(), "web", 1)
		var hint interface{ Hint() string }
		if err == nil || !errors.As(err, &hint) || !strings.Contains(err.Error(), "ferry's helper there says nothing (waited 1m0s)") {
			t.Errorf("got %v", err)
		}
	})
}

// cancelling interrupts the run at its first step.
type cancelling struct {
	Reporter
	cancel func()
}

func (c cancelling) Step(string, string, ...any) { c.cancel() }

// More of a history than was asked for is not shown.
func TestHistoryHasWhatWasAskedFor(t *testing.T) {
	h, helper, _ := fakeHost(t)
	entries := make([]hostapi.HistoryEntry, 3)
	helper.Expect("history").Answer(hostapi.History{VM: "web", Entries: entries})
	if _, err := h.History(t.Context(), "web", 2); err == nil || !strings.Contains(err.Error(), "was asked for 2 entries of the history and answered 3") {
		t.Error(err)
	}
	helper.Expect("history").Answer(hostapi.History{VM: "web", Entries: entries})
	if got, err := h.History(t.Context(), "web", 3); err != nil || len(got.Entries) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}
