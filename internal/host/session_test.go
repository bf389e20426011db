package host

import (
	"ferry/internal/host/hosttest"
	"ferry/internal/host/protocol"
	"ferry/internal/microvm"

	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// client is the operator's end of a session over pipes.
type client struct {
	t      *testing.T
	in     io.WriteCloser
	events *bufio.Scanner
	done   chan error
	out    *protocol.Writer // the host's end
	id     string           // of the deployment
}

func (h *testHost) session() *client {
	h.T.Helper()
	reqR, reqW := io.Pipe()
	evR, evW := io.Pipe()
	c := &client{t: h.T, in: reqW, events: bufio.NewScanner(evR), done: make(chan error, 1), out: protocol.NewWriter(evW), id: "one"}
	c.events.Buffer(nil, maxRequest)
	go func() {
		c.done <- serve(context.Background(), h.server(), c.out, reqR)
		_ = evW.Close()
	}()
	return c
}

// ask sends a request and decodes the answer; the error is the host's.
func (c *client) ask(req hostapi.Request, result any) error {
	c.t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.send(string(b), result)
}

func (c *client) send(line string, result any) error {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
	for c.events.Scan() {
		var ev hostapi.Event
		if err := json.Unmarshal(c.events.Bytes(), &ev); err != nil {
			c.t.Fatal(err)
		}
		switch ev.Event {
		case "error":
			return ev.Error
		case "result":
			if result != nil {
				if err := json.Unmarshal(ev.Result, result); err != nil {
					c.t.Fatal(err)
				}
			}
			return nil
		}
	}
	c.t.Fatalf("no answer to %s", line)
	return nil
}

// leave ends the session as a lost connection does.
func (c *client) leave() {
	c.t.Helper()
	_ = c.in.Close()
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		c.t.Fatal("the session did not end")
	}
}

func drv(p microvm.StorePath) microvm.StorePath { return p + ".drv" }

func (c *client) prepare(runner microvm.StorePath) {
	c.t.Helper()
	err := c.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{
		Name: web, Runner: runner, Derivations: []microvm.StorePath{drv(runner)},
		Deployment: hostapi.Deployment{ID: c.id, By: "ann@laptop", Started: time.Now()},
	}}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
}

// deploy is a whole deployment by restart or start.
func (h *testHost) deploy(runner microvm.StorePath, how hostapi.Activation) {
	h.T.Helper()
	c := h.session()
	c.id = "earlier"
	defer c.leave()
	c.prepare(runner)
	for _, req := range []hostapi.Request{
		{Build: &hostapi.BuildRequest{Name: web, Derivations: []microvm.StorePath{drv(runner)}}},
		{Commit: &hostapi.CommitRequest{Name: web, Runner: runner, Install: true, Activation: how}},
		{Finish: &hostapi.FinishRequest{Name: web, Outcome: "started"}},
	} {
		if err := c.ask(req, nil); err != nil {
			h.T.Fatal(err)
		}
	}
}

func TestDeploymentLeavesTheContract(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 512M")
	h.deploy(hosttest.RunnerA, hostapi.ActivateStart)
	h.deploy(hosttest.RunnerB, hostapi.ActivateRestart)
	for name, want := range map[string]microvm.StorePath{"current": hosttest.RunnerB, "old": hosttest.RunnerA, "booted": hosttest.RunnerB} {
		if got := h.Link(web, name); got != string(want) {
			t.Errorf("%s is %q, wanted %s", name, got, want)
		}
	}
	roots, _ := os.ReadDir(h.Layout.VM(web).Roots().Path())
	if len(roots) != 0 {
		t.Errorf("roots left: %v", roots)
	}
	if got := h.Layout.VM(web).Profile().Current(); got != 2 {
		t.Errorf("generation %d", got)
	}
	history, _ := os.ReadFile(filepath.Join(h.lib(), "history.jsonl"))
	if bytes.Count(history, []byte("\n")) != 2 || !bytes.Contains(history, []byte("ann@laptop")) {
		t.Errorf("history:\n%s", history)
	}
	// Installing what is current again loses nothing.
	h.deploy(hosttest.RunnerB, hostapi.ActivateNone)
	if h.Link(web, "old") != string(hosttest.RunnerA) || h.Layout.VM(web).Profile().Current() != 2 {
		t.Errorf("old is %s, generation %d", h.Link(web, "old"), h.Layout.VM(web).Profile().Current())
	}
}

// Whoever holds a VM's lock keeps others out, and its end lets them in, however
// it came.
func TestLockIsTheSessions(t *testing.T) {
	h := newTestHost(t)
	first := h.session()
	first.prepare(hosttest.RunnerA)
	second := h.session()
	err := second.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{Name: web, Runner: hosttest.RunnerB, Deployment: hostapi.Deployment{ID: "two"}}}, nil)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.Kind != hostapi.KindLocked || !strings.Contains(f.Message, "ann@laptop") || !strings.Contains(f.Message, "deployment one") {
		t.Fatalf("got %v", err)
	}
	var facts hostapi.Facts
	if err := second.ask(hostapi.Request{Probe: &hostapi.ProbeRequest{Name: web}}, &facts); err != nil || facts.Lock == nil || facts.Lock.By != "ann@laptop" {
		t.Fatalf("the probe shows %+v, %v", facts.Lock, err)
	}
	first.leave()
	second.prepare(hosttest.RunnerB)
	second.leave()
}

// A connection that is lost during the build ends the build; nothing has
// changed and nothing is kept.
func TestLostConnectionEndsTheBuild(t *testing.T) {
	h := newTestHost(t)
	began, ended := make(chan bool), make(chan error, 1)
	h.Nix.Building = func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	c := h.session()
	c.prepare(hosttest.RunnerA)
	go func() {
		b, _ := json.Marshal(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Derivations: []microvm.StorePath{drv(hosttest.RunnerA)}}})
		_, _ = c.in.Write(append(b, '\n'))
		for c.events.Scan() { // an operator that still reads
		}
	}()
	<-began
	c.leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the build ended with %v", err)
	}
	if h.Link(web, "current") != "" {
		t.Error("something was installed")
	}
	if entries, _ := os.ReadDir(h.Layout.VM(web).Roots().Path()); len(entries) != 0 {
		t.Errorf("roots left: %v", entries)
	}
	history, _ := os.ReadFile(filepath.Join(h.lib(), "history.jsonl"))
	if !bytes.Contains(history, []byte(`"outcome":"interrupted"`)) {
		t.Errorf("history: %s", history)
	}
}

// An operator that vanishes during a live switch leaves the new runner rooted;
// the next deployment settles it.
func TestVanishedDuringTheSwitch(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.Units.State = hostapi.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", InvocationID: "i1"}
	c := h.session()
	c.prepare(hosttest.RunnerA)
	if err := c.ask(hostapi.Request{Activate: &hostapi.ActivateRequest{Name: web, Runner: hosttest.RunnerA}}, nil); err != nil {
		t.Fatal(err)
	}
	c.leave()
	if got, _ := os.Readlink(filepath.Join(h.Layout.VM(web).Roots().Path(), "pending")); got != string(hosttest.RunnerA) {
		t.Fatalf("pending is %q", got)
	}
	next := h.session()
	next.prepare(hosttest.RunnerB)
	if got, _ := os.Readlink(filepath.Join(h.Layout.VM(web).Roots().Path(), "interrupted")); got != string(hosttest.RunnerA) {
		t.Errorf("what the guest may run is not kept: %q", got)
	}
	// An install asks no guest, so what it may run stays kept, and unsure.
	if err := next.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "installed"}}, nil); err != nil {
		t.Fatal(err)
	}
	next.leave()
	if got, _ := os.Readlink(filepath.Join(h.Layout.VM(web).Roots().Path(), "interrupted")); got != string(hosttest.RunnerA) {
		t.Errorf("after an install, what the guest may run is not kept: %q", got)
	}
	if !h.Layout.VM(web).Guest().IsUnsure(h.Units.State.InvocationID) || h.Layout.VM(web).Guest().IsUnsure("another start") {
		t.Error("an interrupted switch is unsure, and only for this start of the unit")
	}
	// A switch that was seen to its end settles it.
	last := h.session()
	last.prepare(hosttest.RunnerB)
	if err := last.ask(hostapi.Request{Observe: &hostapi.ObserveRequest{Name: web, System: hosttest.SystemB}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := last.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "tested"}}, nil); err != nil {
		t.Fatal(err)
	}
	last.leave()
	if h.Layout.VM(web).Guest().IsUnsure(h.Units.State.InvocationID) {
		t.Error("still unsure")
	}
	if entries, _ := os.ReadDir(h.Layout.VM(web).Roots().Path()); len(entries) != 1 || entries[0].Name() != "running" {
		t.Errorf("roots left: %v", entries)
	}
}

// A start that failed is not somebody's stop: the next deployment starts again.
func TestFailedStartIsTriedAgain(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.Units.Fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "microvm-tap-interfaces@web.service failed"}
	c := h.session()
	c.prepare(hosttest.RunnerA)
	err := c.ask(hostapi.Request{Commit: &hostapi.CommitRequest{Name: web, Runner: hosttest.RunnerA, Install: true, Activation: hostapi.ActivateStart}}, nil)
	if err == nil || !strings.Contains(err.Error(), "tap-interfaces") {
		t.Fatalf("got %v", err)
	}
	c.leave()
	h.Units.Fail = nil
	var facts hostapi.Facts
	c = h.session()
	probe := &hostapi.ProbeRequest{Name: web, Record: &microvm.Record{Runner: microvm.Output{Drv: drv(hosttest.RunnerA), Out: hosttest.RunnerA}}, Intent: hostapi.Intent{Action: hostapi.ActionSwitch, Restart: hostapi.RestartAuto}}
	if err := c.ask(hostapi.Request{Probe: probe}, &facts); err != nil {
		t.Fatal(err)
	}
	c.leave()
	if facts.Plan.Activation != hostapi.ActivateStart {
		t.Errorf("the plan is %+v", facts.Plan)
	}
}

func TestRequestsAreChecked(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	for _, line := range []string{
		`{}`, `nonsense`, `{"unknown":{}}`, `{"build":{"name":"web","derivations":["/etc/passwd"]}}`,
		`{"commit":{"name":"web","runner":"/nix/store/../etc"}}`, `{"build":{"name":"web","derivations":[]}}`,
		`{"commit":{"name":"web"}}`, `{"finish":{"name":"web","outcome":"x"}}`,
	} {
		if err := c.send(line, nil); err == nil {
			t.Errorf("%s was accepted", line)
		}
	}
	c.leave()
	if h.Nix.Did("build") || len(h.Units.Starts) > 0 {
		t.Error("something was done")
	}
}

// Names are checked where they enter: as a path they could leave the state
// directory.
func TestNameOfRequestIsChecked(t *testing.T) {
	h := newTestHost(t)
	c := h.session()
	defer c.leave()
	for _, name := range []string{"..", "../x", "", "a b", "-x"} {
		if err := c.ask(hostapi.Request{Probe: &hostapi.ProbeRequest{Name: microvm.Name(name)}}, nil); err == nil {
			t.Errorf("the name %q was accepted", name)
		}
	}
}
