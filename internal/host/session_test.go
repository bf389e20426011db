package host

import (
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
	"ferry/internal/microvm"
)

// client is the operator's end of a session over pipes.
type client struct {
	t      *testing.T
	in     io.WriteCloser
	events *bufio.Scanner
	done   chan error
	id     string // of the deployment
}

func (h *testHost) session() *client {
	h.t.Helper()
	reqR, reqW := io.Pipe()
	evR, evW := io.Pipe()
	c := &client{t: h.t, in: reqW, events: bufio.NewScanner(evR), done: make(chan error, 1), id: "one"}
	c.events.Buffer(nil, maxRequest)
	go func() {
		c.done <- serve(context.Background(), h.server(), &eventWriter{w: evW}, reqR)
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

const web = microvm.Name("web")

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
	h.t.Helper()
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
			h.t.Fatal(err)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give files to somebody else")
	}
}

func TestDeploymentLeavesTheContract(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "-m 512M")
	h.makeRunner(runnerB, systemB, "-m 512M")
	h.deploy(runnerA, hostapi.ActivateStart)
	h.deploy(runnerB, hostapi.ActivateRestart)
	for name, want := range map[string]microvm.StorePath{"current": runnerB, "old": runnerA, "booted": runnerB} {
		if got := h.link(web, name); got != string(want) {
			t.Errorf("%s is %q, wanted %s", name, got, want)
		}
	}
	roots, _ := os.ReadDir(h.layout.ferryRoots(web))
	if len(roots) != 0 {
		t.Errorf("roots left: %v", roots)
	}
	if got := h.layout.generation(web); got != 2 {
		t.Errorf("generation %d", got)
	}
	history, _ := os.ReadFile(filepath.Join(h.layout.libDir(web), noteHistory))
	if bytes.Count(history, []byte("\n")) != 2 || !bytes.Contains(history, []byte("ann@laptop")) {
		t.Errorf("history:\n%s", history)
	}
	// Installing what is current again loses nothing.
	h.deploy(runnerB, hostapi.ActivateNone)
	if h.link(web, "old") != string(runnerA) || h.layout.generation(web) != 2 {
		t.Errorf("old is %s, generation %d", h.link(web, "old"), h.layout.generation(web))
	}
}

// Whoever holds a VM's lock keeps others out, and its end lets them in, however
// it came.
func TestLockIsTheSessions(t *testing.T) {
	h := newTestHost(t)
	first := h.session()
	first.prepare(runnerA)
	second := h.session()
	err := second.ask(hostapi.Request{Prepare: &hostapi.PrepareRequest{Name: web, Runner: runnerB, Deployment: hostapi.Deployment{ID: "two"}}}, nil)
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.Kind != hostapi.KindLocked || !strings.Contains(f.Message, "ann@laptop") || !strings.Contains(f.Message, "deployment one") {
		t.Fatalf("got %v", err)
	}
	var facts hostapi.Facts
	if err := second.ask(hostapi.Request{Probe: &hostapi.ProbeRequest{Name: web}}, &facts); err != nil || facts.Lock == nil || facts.Lock.By != "ann@laptop" {
		t.Fatalf("the probe shows %+v, %v", facts.Lock, err)
	}
	first.leave()
	second.prepare(runnerB)
	second.leave()
}

// A connection that is lost during the build ends the build; nothing has
// changed and nothing is kept.
func TestLostConnectionEndsTheBuild(t *testing.T) {
	h := newTestHost(t)
	began, ended := make(chan bool), make(chan error, 1)
	h.nix.building = func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	c := h.session()
	c.prepare(runnerA)
	go func() {
		b, _ := json.Marshal(hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Derivations: []microvm.StorePath{drv(runnerA)}}})
		_, _ = c.in.Write(append(b, '\n'))
		for c.events.Scan() { // an operator that still reads
		}
	}()
	<-began
	c.leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the build ended with %v", err)
	}
	if h.link(web, "current") != "" {
		t.Error("something was installed")
	}
	if entries, _ := os.ReadDir(h.layout.ferryRoots(web)); len(entries) != 0 {
		t.Errorf("roots left: %v", entries)
	}
	history, _ := os.ReadFile(filepath.Join(h.layout.libDir(web), noteHistory))
	if !bytes.Contains(history, []byte(`"outcome":"interrupted"`)) {
		t.Errorf("history: %s", history)
	}
}

// An operator that vanishes during a live switch leaves the new runner rooted;
// the next deployment settles it.
func TestVanishedDuringTheSwitch(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "")
	h.units.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", InvocationID: "i1"}
	c := h.session()
	c.prepare(runnerA)
	if err := c.ask(hostapi.Request{Activate: &hostapi.ActivateRequest{Name: web, Runner: runnerA}}, nil); err != nil {
		t.Fatal(err)
	}
	c.leave()
	if got, _ := os.Readlink(filepath.Join(h.layout.ferryRoots(web), "pending")); got != string(runnerA) {
		t.Fatalf("pending is %q", got)
	}
	next := h.session()
	next.prepare(runnerB)
	if got, _ := os.Readlink(filepath.Join(h.layout.ferryRoots(web), "interrupted")); got != string(runnerA) {
		t.Errorf("what the guest may run is not kept: %q", got)
	}
	// An install asks no guest, so what it may run stays kept, and unsure.
	if err := next.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "installed"}}, nil); err != nil {
		t.Fatal(err)
	}
	next.leave()
	if got, _ := os.Readlink(filepath.Join(h.layout.ferryRoots(web), "interrupted")); got != string(runnerA) {
		t.Errorf("after an install, what the guest may run is not kept: %q", got)
	}
	if !h.layout.unsure(web, h.units.state.InvocationID) || h.layout.unsure(web, "another start") {
		t.Error("an interrupted switch is unsure, and only for this start of the unit")
	}
	// A switch that was seen to its end settles it.
	last := h.session()
	last.prepare(runnerB)
	if err := last.ask(hostapi.Request{Observe: &hostapi.ObserveRequest{Name: web, System: systemB}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := last.ask(hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: "tested"}}, nil); err != nil {
		t.Fatal(err)
	}
	last.leave()
	if h.layout.unsure(web, h.units.state.InvocationID) {
		t.Error("still unsure")
	}
	if entries, _ := os.ReadDir(h.layout.ferryRoots(web)); len(entries) != 1 || entries[0].Name() != "running" {
		t.Errorf("roots left: %v", entries)
	}
}

// A start that failed is not somebody's stop: the next deployment starts again.
func TestFailedStartIsTriedAgain(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "")
	h.units.fail = &hostapi.Failure{Kind: hostapi.KindUnit, Message: "microvm-tap-interfaces@web.service failed"}
	c := h.session()
	c.prepare(runnerA)
	err := c.ask(hostapi.Request{Commit: &hostapi.CommitRequest{Name: web, Runner: runnerA, Install: true, Activation: hostapi.ActivateStart}}, nil)
	if err == nil || !strings.Contains(err.Error(), "tap-interfaces") {
		t.Fatalf("got %v", err)
	}
	c.leave()
	h.units.fail = nil
	var facts hostapi.Facts
	c = h.session()
	probe := &hostapi.ProbeRequest{Name: web, Record: &microvm.Record{Runner: microvm.Output{Drv: drv(runnerA), Out: runnerA}}, Intent: hostapi.Intent{Action: hostapi.ActionSwitch, Restart: hostapi.RestartAuto}}
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
	if h.nix.did("build") || len(h.units.starts) > 0 {
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
