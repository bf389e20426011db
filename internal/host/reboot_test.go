package host

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/protocol"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// door is a guest that answers or doesn't, one word after another, the last again and
// again.
type door struct {
	answers []bool
	asked   int
}

func (d *door) try(context.Context, hostapi.GuestDoor) error {
	d.asked++
	up := d.answers[0]
	d.answers = d.answers[min(1, len(d.answers)-1):]
	if !up {
		return errors.New("no route to host")
	}
	return nil
}

// switching is a host where a live switch of web to runner C is under way. web has A
// installed and booted unless the test changes that before.
type switching struct {
	*testHost
	t    *testing.T
	door *door
	dep  *deployment
}

const guestAt = "10.0.0.5"

func newSwitching(t *testing.T, door *door, change func(*testHost, *hostapi.PrepareRequest, *hostapi.CommitRequest)) *switching {
	t.Helper()
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 768M")
	h.MakeRunner(hosttest.RunnerC, hosttest.SystemC, "-m 768M")
	h.deploy(hosttest.RunnerA, hostapi.ActivateStart)
	s := &switching{testHost: h, t: t, door: door}
	prepare := hostapi.PrepareRequest{
		Name: web, Runner: hosttest.RunnerC, Deployment: hostapi.Deployment{ID: "two", By: "ann@laptop", Started: time.Now()},
		Guest: &hostapi.GuestDoor{Host: guestAt, Port: 22},
	}
	commit := hostapi.CommitRequest{Name: web, Runner: hosttest.RunnerC, Activation: hostapi.ActivateLive, Install: true}
	if change != nil {
		change(h, &prepare, &commit)
	}
	ses := s.session()
	if _, err := ses.prepare(t.Context(), prepare); err != nil {
		t.Fatal(err)
	}
	s.dep = ses.work
	if _, err := s.dep.activate(t.Context(), hostapi.ActivateRequest{Name: web, Runner: hosttest.RunnerC, Commit: &commit}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *switching) session() *session {
	srv := s.server()
	srv.lookout = lookout{try: s.door.try, quietFor: 20 * time.Millisecond, pause: time.Millisecond}
	return &session{srv: srv, out: protocol.NewWriter(io.Discard)}
}

func (s *switching) reboot(ran microvm.StorePath) hostapi.Rebooted {
	s.t.Helper()
	r, err := rebooting{s.dep}.reboot(s.t.Context(), hostapi.RebootRequest{Name: web, ID: "two", Ran: ran, Seconds: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	return *r
}

// restarts of the unit since the switch was announced.
func (s *switching) restarts(before int) int { return len(s.Units.Starts) - before }

// A VM is restarted as a last resort only where this host could reach its guest when
// the deployment began, and can't for a while now; and with what brings back what ran.
func TestLastResort(t *testing.T) {
	const reachedOnce, never = "up, then gone, then up again", "never"
	ways := map[string][]bool{
		reachedOnce: {true, false, false, false}, never: {false}, "always": {true},
		"gone for a moment": {true, false, false, true}, "gone for good": {true, false},
	}
	live := func(runner, system microvm.StorePath) func(*testHost, *hostapi.PrepareRequest, *hostapi.CommitRequest) {
		return func(h *testHost, _ *hostapi.PrepareRequest, _ *hostapi.CommitRequest) {
			h.deploy(runner, hostapi.ActivateNone)
			if system == "" {
				return
			}
			if err := h.Layout.VM(web).Guest().PutRunning(vmstate.Running{InvocationID: h.Units.State.InvocationID, System: system}); err != nil {
				h.T.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name, door string
		change     func(*testHost, *hostapi.PrepareRequest, *hostapi.CommitRequest)
		after      func(*switching)
		ran        microvm.StorePath
		boots      microvm.StorePath // empty: nothing is restarted
		says       string
	}{
		{name: "as booted", door: "gone for good", ran: hosttest.SystemA, boots: hosttest.RunnerA, says: "as before"},
		{name: "what ran is only known here", door: "gone for good", boots: hosttest.RunnerA, says: "as before"},
		{name: "something else was installed only", door: "gone for good", change: live(hosttest.RunnerB, ""), ran: hosttest.SystemA, boots: hosttest.RunnerA, says: "`current` is " + string(hosttest.RunnerB)},
		{name: "it had been switched live", door: "gone for good", change: live(hosttest.RunnerB, hosttest.SystemB), ran: hosttest.SystemB, boots: hosttest.RunnerB, says: "had been switched live"},
		{name: "it ran something else", door: "gone for good", ran: hosttest.SystemC, boots: hosttest.RunnerA, says: "neither that nor the booted runner has"},

		{name: "this host reaches it", door: "always", ran: hosttest.SystemA},
		{name: "it is gone for a moment", door: "gone for a moment", ran: hosttest.SystemA},
		{name: "it was never reached", door: never, ran: hosttest.SystemA, says: "could not reach it when the deployment began"},
		{name: "nobody knows where it is", door: never, ran: hosttest.SystemA, says: "is not known", change: func(_ *testHost, p *hostapi.PrepareRequest, _ *hostapi.CommitRequest) { p.Guest = nil }},
		{name: "an address that is none", door: never, ran: hosttest.SystemA, says: "is not known", change: func(_ *testHost, p *hostapi.PrepareRequest, _ *hostapi.CommitRequest) { p.Guest.Host = "10.0.0.5/x" }},
		{name: "never restart", door: "gone for good", ran: hosttest.SystemA, says: "--restart=never", change: func(_ *testHost, p *hostapi.PrepareRequest, _ *hostapi.CommitRequest) { p.Guest.NoRestart = true }},
		{name: "never undo", door: "gone for good", ran: hosttest.SystemA, says: "--no-rollback", change: func(_ *testHost, _ *hostapi.PrepareRequest, c *hostapi.CommitRequest) { c.Confirm.NoRollback = true }},
		{name: "somebody started it again", door: "gone for good", ran: hosttest.SystemA, says: "was started again", after: func(s *switching) { s.Units.State.InvocationID = "other" }},
		{name: "somebody stopped it", door: "gone for good", ran: hosttest.SystemA, says: "its unit is inactive", after: func(s *switching) { s.Units.State.ActiveState = "inactive" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSwitching(t, &door{answers: ways[c.door]}, c.change)
			if c.after != nil {
				c.after(s)
			}
			current, before := s.Link(web, "current"), len(s.Units.Starts)
			got := s.reboot(c.ran)
			if got.Restarted != (c.boots != "") || got.Runner != c.boots || !strings.Contains(got.Why, c.says) || got.Before != (c.door != never && s.dep.note.LastResort != nil) {
				t.Errorf("got %+v", got)
			}
			if n := s.restarts(before); n != map[bool]int{true: 1}[c.boots != ""] {
				t.Errorf("%d restarts", n)
			}
			if c.boots != "" && s.Link(web, "booted") != string(c.boots) {
				t.Errorf("booted is %s", s.Link(web, "booted"))
			}
			if s.Link(web, "current") != current {
				t.Errorf("`current` is %s, was %s", s.Link(web, "current"), current)
			}
		})
	}
}

// However often it is asked for, by whoever has the deployment, it is made once; and a
// restart that was noted but not begun is.
func TestLastResortIsMadeOnce(t *testing.T) {
	s := newSwitching(t, &door{answers: []bool{true, false}}, nil)
	before := len(s.Units.Starts)
	first := s.reboot(hosttest.SystemA)
	s.dep.abandon() // the connection is lost
	s.door.answers = []bool{true}
	ses := s.session()
	if _, err := ses.resume(t.Context(), hostapi.ResumeRequest{Name: web, ID: "two"}); err != nil {
		t.Fatal(err)
	}
	s.dep = ses.work
	again := s.reboot("")
	if !again.Restarted || !again.Reached || again.Runner != first.Runner || again.Why != first.Why || again.Ran != hosttest.SystemA || s.restarts(before) != 1 {
		t.Errorf("%d restarts: %+v", s.restarts(before), again)
	}
	if _, err := (rebooting{s.dep}).reboot(t.Context(), hostapi.RebootRequest{Name: web, ID: "three"}); !hostapi.IsRefused(err) {
		t.Errorf("another deployment's: %v", err)
	}

	noted := newSwitching(t, &door{answers: []bool{true, false}}, nil)
	l := noted.dep.note.LastResort
	l.Made, l.Boots, l.Current = time.Now(), hosttest.RunnerA, hosttest.RunnerA
	before = len(noted.Units.Starts)
	if got := noted.reboot(hosttest.SystemA); !got.Restarted || noted.restarts(before) != 1 {
		t.Errorf("%d restarts: %+v", noted.restarts(before), got)
	}
}

// Killed while `current` names what is booted, it leaves a note that gives it back.
func TestLastResortGivesCurrentBack(t *testing.T) {
	for _, how := range []string{"the next deployment", "whoever attaches"} {
		s := newSwitching(t, &door{answers: []bool{true, false}}, func(h *testHost, _ *hostapi.PrepareRequest, _ *hostapi.CommitRequest) {
			h.deploy(hosttest.RunnerB, hostapi.ActivateNone)
		})
		l := s.dep.note.LastResort
		l.Made, l.Boots, l.Current = time.Now(), hosttest.RunnerA, hosttest.RunnerB
		if err := errors.Join(s.dep.putNote(), s.dep.vm.PutLink("current", hosttest.RunnerA)); err != nil {
			t.Fatal(err)
		}
		s.dep.abandon()
		ses := s.session()
		var err error
		if how == "whoever attaches" {
			_, err = ses.resume(t.Context(), hostapi.ResumeRequest{Name: web, ID: "two"})
		} else {
			_, err = ses.prepare(t.Context(), hostapi.PrepareRequest{Name: web, Runner: hosttest.RunnerC, Deployment: hostapi.Deployment{ID: "three", By: "ann@laptop"}})
		}
		if err != nil || s.Link(web, "current") != string(hosttest.RunnerB) {
			t.Errorf("%s: `current` is %s, %v", how, s.Link(web, "current"), err)
		}
	}
}

// Once it has, somebody may install what was booted: that stays. What a later ferry has
// noted is left to that one.
func TestLastResortTakesNothingBackLater(t *testing.T) {
	made := func() *switching {
		s := newSwitching(t, &door{answers: []bool{true, false}}, func(h *testHost, _ *hostapi.PrepareRequest, _ *hostapi.CommitRequest) {
			h.deploy(hosttest.RunnerB, hostapi.ActivateNone)
		})
		if got := s.reboot(hosttest.SystemA); got.Runner != hosttest.RunnerA || s.Link(web, "current") != string(hosttest.RunnerB) {
			t.Fatalf("%+v, current %s", got, s.Link(web, "current"))
		}
		return s
	}
	stop := func(s *switching) {
		if _, err := s.machine().Live(t.Context(), web, hostapi.ActionStop, hostapi.Claim{By: "bob@desk"}, func(string) {}); err != nil {
			t.Fatal(err)
		}
		if s.Link(web, "current") != string(hosttest.RunnerA) {
			t.Errorf("current is %s", s.Link(web, "current"))
		}
	}
	over := made()
	over.dep.abandon()
	if err := over.dep.vm.PutLink("current", hosttest.RunnerA); err != nil { // `microvm -u`
		t.Fatal(err)
	}
	stop(over)

	newer := made()
	newer.dep.note.LastResort.Back, newer.dep.note.Phase = false, "later"
	if err := errors.Join(newer.dep.putNote(), newer.dep.vm.PutLink("current", hosttest.RunnerA)); err != nil {
		t.Fatal(err)
	}
	newer.dep.lock.Release()
	stop(newer)
}

// Only sshd counts as a guest that answers: something else may listen there, and a
// hypervisor may accept connections for a guest that is gone.
func TestKnock(t *testing.T) {
	for greeting, good := range map[string]bool{"SSH-2.0-OpenSSH_10.0\r\n": true, "hello\r\nSSH-2.0-x\r\n": true, "HTTP/1.1 400\r\n\r\n": false, "": false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, greeting)
			_ = conn.Close()
		}()
		err = knock(t.Context(), hostapi.GuestDoor{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port})
		if (err == nil) != good {
			t.Errorf("%q: %v", greeting, err)
		}
		_ = l.Close()
	}
}
