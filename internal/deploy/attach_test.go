package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/hostlink"
	"ferry/internal/deploy/live"
	"ferry/internal/deploy/memory"
	"ferry/internal/deploy/request"
	"ferry/internal/deploy/restart"
	"ferry/internal/deploy/result"
	"ferry/internal/flake"
	"ferry/internal/guest"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/remembered"
	"ferry/internal/remote"
)

const (
	leftRun = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner")
	leftSys = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system")
	ranSys  = microvm.StorePath("/nix/store/cccccccccccccccccccccccccccccccc-before")
	secret  = microvm.StorePath("/nix/store/dddddddddddddddddddddddddddddddd-secret")
	mine    = "true # mine"
	baitRun = microvm.StorePath("/nix/store/ffffffffffffffffffffffffffffffff-bait")
)

// silent is a Reporter that keeps warnings only.
type silent struct{ warnings []string }

func (*silent) Step(string, string, ...any)   {}
func (*silent) Detail(string, string, ...any) {}
func (s *silent) Warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}
func (*silent) Log(string) io.WriteCloser { return discard{} }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// stage has a host and guests, none of them real.
type stage struct {
	t *testing.T
	// answers are the host's, by the kind of request; other requests succeed.
	answers map[string]any
	// guests answer by address, by the name of ferry's script.
	guests map[string]map[string]string

	// lost is the kind of request at which the host vanishes, or `fail` and the
	// kind at which it fails and has dealt with it.
	lost string

	dialled  []string // addresses, with +sudo
	told     []string // requests to the host, as JSON
	commands []string // in guests: words of each script, one line each
}

func (l *stage) dial(_ context.Context, o remote.Options) (remote.Conn, error) {
	at := o.Address.String()
	if o.Sudo {
		at += "+sudo"
	}
	l.dialled = append(l.dialled, at)
	return &fakeConn{stage: l, address: o.Address}, nil
}

type fakeConn struct {
	remote.Conn
	stage   *stage
	address microvm.Address
}

func (c *fakeConn) Address() microvm.Address   { return c.address }
func (c *fakeConn) Root(context.Context) error { return nil }
func (c *fakeConn) Close() error               { return nil }

func (c *fakeConn) Run(_ context.Context, cmd remote.Command) error {
	name := strings.Trim(strings.TrimPrefix(cmd.Shown, "ferry's script "), "`")
	marker, args := cmd.Args[4], cmd.Args[5:]
	if cmd.Stdin != nil {
		b, _ := io.ReadAll(cmd.Stdin)
		args = append(slices.Clone(args), "<"+string(b))
	}
	c.stage.commands = append(c.stage.commands, name+" "+strings.Join(args, " "))
	if name == "follow" {
		name += " " + args[2]
	}
	said, known := c.stage.guests[c.address.String()][name]
	if !known {
		c.stage.t.Errorf("%s was asked by `%s`, which nobody expected", c.address, name)
	}
	for word := range strings.FieldsSeq(said) {
		fmt.Fprintf(cmd.Stdout, "%s %s\n", marker, word)
	}
	return nil
}

func (l *stage) open(context.Context, remote.Conn, hostclient.Options) (hostlink.Session, bool, error) {
	return &stageSession{stage: l}, false, nil
}

type stageSession struct {
	stage *stage
	ended bool
}

func (s *stageSession) Close() error { return nil }
func (s *stageSession) Closed() bool { return s.ended }

func (s *stageSession) Registration(context.Context, microvm.StorePath) (io.Reader, error) {
	return nil, errors.New("nobody asks for it")
}

func (s *stageSession) Call(ctx context.Context, req hostapi.Request, result any) error {
	l := s.stage
	if s.ended {
		return lostConnection()
	}
	if ctx.Err() != nil {
		return remote.Interrupted(ctx, "waiting for root@host1")
	}
	kind, text := requestKind(req)
	l.told = append(l.told, text)
	switch l.lost {
	case kind:
		s.ended = true
		return lostConnection()
	case "fail " + kind:
		return &hostapi.Failure{Message: "no", State: "undone", RolledBack: true}
	}
	if kind == "token" {
		*result.(*microvm.StorePath) = microvm.StorePath("/nix/store/" + strings.Repeat("0", 32) + "-" + req.Token.Name)
		return nil
	}
	if answer, ok := l.answers[kind]; ok && result != nil {
		b, _ := json.Marshal(answer)
		return json.Unmarshal(b, result)
	}
	return nil
}

// wantTold fails the test unless the host was asked these kinds of things, in this
// order.
func (l *stage) wantTold(kinds ...string) {
	l.t.Helper()
	var got []string
	for _, line := range l.told {
		var m map[string]json.RawMessage
		_ = json.Unmarshal([]byte(line), &m)
		got = slices.AppendSeq(got, maps.Keys(m))
	}
	if !slices.Equal(got, kinds) {
		l.t.Errorf("the host was told %q, wanted %q", got, kinds)
	}
}

func (l *stage) wantDialled(addresses ...string) {
	l.t.Helper()
	got := slices.Clone(l.dialled)
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, addresses) {
		l.t.Errorf("dialled %q, wanted %q", l.dialled, addresses)
	}
}

func (l *stage) without(where []string, bad ...string) {
	l.t.Helper()
	for _, b := range bad {
		for _, line := range where {
			if strings.Contains(line, b) {
				l.t.Errorf("%q is in %q", b, line)
			}
		}
	}
}

// flakes evaluates to one thing.
type flakes struct {
	Evaluator
	ev    *flake.Evaluation
	asked int
}

func (f *flakes) Evaluate(context.Context, flake.Source, microvm.Name) (*flake.Evaluation, error) {
	f.asked++
	if f.ev == nil {
		return nil, errors.New("there is no flake")
	}
	return f.ev, nil
}

func (f *flakes) Fleet(context.Context, flake.Source) (flake.Fleet, []string, error) {
	f.asked++
	if f.ev == nil {
		return flake.Fleet{}, nil, errors.New("there is no flake")
	}
	return f.ev.Fleet, nil, nil
}

func address(t *testing.T, s string) microvm.Address {
	t.Helper()
	a, err := microvm.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// liar is a host that says of the deployment whatever leads the operator astray.
func liar(t *testing.T, phase hostapi.Phase) *stage {
	left := hostapi.Deployment{
		ID: leftID, By: "me@here", Started: time.Now(), Action: hostapi.ActionSwitch,
		Target: "root@bait", TargetSudo: true,
	}
	good := "boot=b1 uid=0 systemd=yes store=yes hostname=web armed=" + leftID + " current=" + string(leftSys)
	return &stage{
		t: t,
		answers: map[string]any{
			"underway": []hostapi.Underway{{Name: "web", Deployment: left, Phase: phase}},
			"resume": hostapi.Resumed{
				Deployment: left, Runner: leftRun, Phase: phase, Deadline: time.Now().Add(time.Minute),
				System: baitRun, HostName: "bait",
				Commit: &hostapi.CommitRequest{
					Name: "web", Runner: leftRun, Install: true, Activation: hostapi.ActivateLive, GuestSystem: baitRun,
					Record: &microvm.Record{HostName: "bait"},
					Confirm: hostapi.Confirmation{
						Await: true, Command: "touch /bait", AcceptFailedUnits: true, NoRollback: true,
						Checks: health.Checks{TCP: []string{"bait:1"}},
					},
				},
			},
		},
		guests: map[string]map[string]string{"root@web": {
			"look": good, "follow switch": "status=0", "confirm": "confirmed=yes boot=b1",
			"undo": "answer=undoing boot=b1", "follow undo": "status=0",
		}},
	}
}

// remembers is what the machine kept that began the deployment.
func remembers(t *testing.T, how hostapi.Activation) remembered.Store {
	t.Helper()
	s := remembered.Store{Dir: t.TempDir()}
	web := address(t, "root@web")
	r := &run{Deployer: &Deployer{Memory: s, Report: &silent{}}, id: leftID}
	p := progress{
		to: request.Resolved{Attribute: "web", Name: "web", Host: ptr(address(t, "root@host1")), Target: &web, Action: hostapi.ActionSwitch,
			Confirm: request.Confirm{Command: mine, Timeout: time.Minute, Checks: health.Checks{TCP: []string{"web:80"}}}},
		guest:  &live.Guest{Facts: guest.Facts{Current: ranSys}},
		before: restart.Units{Known: true},
		record: microvm.Record{Name: "web", HostName: "web"},
		plan:   hostapi.Plan{Runner: leftRun, System: leftSys, HostName: "web", Install: true, Activation: how},
	}
	c := p.complete(hostapi.CommitRequest{Install: true, Activation: how, Confirm: p.to.Confirm.ForHost(p.to.Confirm.BootTime(), p.asksGuest())})
	if how == hostapi.ActivateLive {
		c = p.liveCommit()
	}
	r.remember(p, c)
	return s
}

func ptr[T any](v T) *T { return &v }

func (l *stage) attach(m memory.Store, e Evaluator, change func(*request.Attach)) (*result.Result, error) {
	l.t.Helper()
	d := &Deployer{Report: &silent{}, Memory: m, Evaluator: e, tools: tools{dial: l.dial, open: l.open}}
	req := request.Attach{Host: address(l.t, "root@host1"), Name: "web", Confirm: request.Confirm{Command: mine}}
	if change != nil {
		change(&req)
	}
	return d.Attach(l.t.Context(), req)
}

func left(s remembered.Store) bool {
	_, err := os.Stat(filepath.Join(s.Dir, leftID+".json"))
	return err == nil
}

// Whatever the host says of the target, of sudo, the system or the checks, only
// what this machine remembers is dialled and run.
func TestAttachTakesNothingFromTheHost(t *testing.T) {
	for _, c := range []struct {
		phase hostapi.Phase
		how   hostapi.Activation
		told  []string
	}{
		{"", hostapi.ActivateLive, []string{"underway", "resume", "check", "commit", "finish"}},
		{hostapi.PhaseAwait, hostapi.ActivateRestart, []string{"underway", "resume", "finish"}},
	} {
		t.Run(string(c.how), func(t *testing.T) {
			l, m := liar(t, c.phase), remembers(t, c.how)
			r, err := l.attach(m, &flakes{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			l.wantDialled("root@host1", "root@web")
			l.wantTold(c.told...)
			l.without(append(l.commands, l.told...), "bait")
			if all := strings.Join(l.commands, "\n"); !strings.Contains(all, string(leftSys)+" no  yes <"+mine) {
				t.Errorf("the guest was not asked what this machine remembers: %s", all)
			}
			if r.System != leftSys || left(m) {
				t.Errorf("result %+v; still remembered: %v", r, left(m))
			}
		})
	}
}

// On a machine that remembers nothing, the host's word never leads anywhere.
func TestAttachWithoutMemoryDialsNothing(t *testing.T) {
	yields := func(runner microvm.StorePath, vm flake.VM) *flakes {
		return &flakes{ev: &flake.Evaluation{
			Record: microvm.Record{HostName: "web", Runner: microvm.Output{Out: runner}, System: &microvm.Output{Out: leftSys}},
			Fleet:  flake.Fleet{Hosts: map[string]flake.Host{"h": {Address: address(t, "root@host1")}}, VMs: map[microvm.Name]flake.VM{"web": vm}},
		}}
	}
	for name, c := range map[string]struct {
		flake  *flakes
		change func(*request.Attach)
		says   string
		usage  bool
	}{
		"no flake":       {flake: &flakes{}, says: "there is no flake"},
		"another runner": {flake: yields(baitRun, flake.VM{Target: ptr(address(t, "root@web"))}), says: "the flake here yields another runner than deployment " + leftID},
		"no target":      {flake: yields(leftRun, flake.VM{}), says: "the address of its system is not known", usage: true},
		"a VM of another host, not named": {
			flake: yields(leftRun, flake.VM{Target: ptr(address(t, "root@web"))}), usage: true,
			change: func(r *request.Attach) { r.Name, r.ID = "", leftID }, says: "which the flake does not have there",
		},
	} {
		for _, phase := range []hostapi.Phase{"", hostapi.PhaseAwait} {
			t.Run(name+string(phase), func(t *testing.T) {
				l := liar(t, phase)
				_, err := l.attach(remembered.Store{}, c.flake, c.change)
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v", err)
				}
				var usage *request.UsageError
				if errors.As(err, &usage) != c.usage || name == "no target" && !strings.Contains(usage.Hint(), "--target") {
					t.Errorf("got %T, hint %q", errors.Unwrap(err), usage)
				}
				l.wantDialled("root@host1")
				l.wantTold("underway", "resume")
			})
		}
	}
	for name, change := range map[string]func(*request.Attach){
		"the flake's target": nil,
		"named":              func(r *request.Attach) { r.Target = ptr(address(t, "root@web")) },
	} {
		t.Run(name, func(t *testing.T) {
			vm := flake.VM{Target: ptr(address(t, "root@web"))}
			if change != nil {
				vm.Target = ptr(address(t, "root@elsewhere"))
			}
			l := liar(t, "")
			if _, err := l.attach(remembered.Store{}, yields(leftRun, vm), change); err != nil {
				t.Fatal(err)
			}
			l.wantDialled("root@host1", "root@web")
			l.without(append(l.commands, l.told...), "bait")
		})
	}
}

// A host that says another thing than this machine remembers is not believed.
func TestAttachRefusesWhatContradictsMemory(t *testing.T) {
	for name, c := range map[string]struct {
		lie    func(u *hostapi.Underway, r *hostapi.Resumed)
		change func(*request.Attach)
		says   string
	}{
		"another runner":                {lie: func(_ *hostapi.Underway, r *hostapi.Resumed) { r.Runner = baitRun }, says: "with the runner " + string(leftRun)},
		"another VM":                    {lie: func(u *hostapi.Underway, _ *hostapi.Resumed) { u.Name = "db" }, change: func(r *request.Attach) { r.Name = "" }, says: "was begun from here for web"},
		"not the VM that was asked for": {lie: func(u *hostapi.Underway, _ *hostapi.Resumed) { u.Name = "db" }, says: "does not answer what it was asked for"},
		"a path instead of an id":       {lie: func(u *hostapi.Underway, _ *hostapi.Resumed) { u.Deployment.ID = "../x" }, says: "does not answer what it was asked for"},
		"another kind":                  {lie: func(_ *hostapi.Underway, r *hostapi.Resumed) { r.Phase = hostapi.PhaseAwait }, says: "the activation \"live\""},
		"another host":                  {change: func(r *request.Attach) { r.Host = address(t, "root@evil") }, says: "was begun from here on root@host1, not on root@evil"},
	} {
		t.Run(name, func(t *testing.T) {
			l, m := liar(t, ""), remembers(t, hostapi.ActivateLive)
			u, r := l.answers["underway"].([]hostapi.Underway), l.answers["resume"].(hostapi.Resumed)
			if c.lie != nil {
				c.lie(&u[0], &r)
			}
			l.answers["resume"] = r
			if _, err := l.attach(m, &flakes{}, c.change); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, wanted %q", err, c.says)
			}
			if len(l.dialled) != 1 || len(l.commands) != 0 || !left(m) {
				t.Errorf("dialled %q, ran %q, remembered %v", l.dialled, l.commands, left(m))
			}
		})
	}
}

// What only the guest said stays here: a host that leads the operator to another
// machine must not learn what is there.
func TestAttachTellsTheHostNothingNew(t *testing.T) {
	good := "boot=b1 uid=0 systemd=yes store=yes "
	for name, c := range map[string]struct {
		phase hostapi.Phase
		guest map[string]string
		told  []string
		says  string
	}{
		"another machine":     {guest: map[string]string{"look": good + "hostname=secret current=" + string(secret)}, told: []string{"underway", "resume"}, says: "calls itself"},
		"another store":       {guest: map[string]string{"look": "boot=b1 uid=0 systemd=yes store=no hostname=web current=" + string(secret)}, told: []string{"underway", "resume"}, says: "does not see the host's /nix/store"},
		"a third system":      {guest: map[string]string{"look": good + "hostname=web current=" + string(secret)}, told: []string{"underway", "resume", "finish"}, says: "nobody has confirmed"},
		"the one from before": {guest: map[string]string{"look": good + "hostname=web current=" + string(ranSys)}, told: []string{"underway", "resume", "observe", "finish"}, says: "nobody has confirmed"},
		"failed units": {
			guest: map[string]string{"confirm": "refused=units boot=b1 failed=secret.service", "look": good + "hostname=web armed=" + leftID + " current=" + string(secret)},
			told:  []string{"underway", "resume", "check", "finish"}, says: "units have failed",
		},
		"another system after a restart": {phase: hostapi.PhaseAwait, guest: map[string]string{"confirm": "refused=units boot=b1 failed=secret.service"}, told: []string{"underway", "resume", "undo"}, says: "units have failed"},
	} {
		t.Run(name, func(t *testing.T) {
			how := hostapi.ActivateLive
			if c.phase != "" {
				how = hostapi.ActivateRestart
			}
			l, m := liar(t, c.phase), remembers(t, how)
			l.guests["root@web"]["why"] = "why=secret"
			if c.says == "nobody has confirmed" {
				l.guests["root@web"]["why"] = ""
			}
			maps.Copy(l.guests["root@web"], c.guest)
			_, err := l.attach(m, &flakes{}, nil)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, wanted %q", err, c.says)
			}
			l.wantTold(c.told...)
			l.without(l.told, "secret")
		})
	}
}

// Rolled back is what runs what ran before: of that whoever comes back late is told,
// and why it was undone.
func TestAttachKnowsWhatTheGuestHasUndone(t *testing.T) {
	for name, c := range map[string]struct {
		now, before microvm.StorePath // before: as the guest says
		memory      bool
		back        bool
		says        string
	}{
		"as remembered":        {now: ranSys, memory: true, back: true},
		"something else":       {now: secret, memory: true, says: "before, it ran " + string(ranSys)},
		"as the guest says":    {now: ranSys, before: ranSys, back: true},
		"the guest was booted": {now: ranSys, says: "what it ran before is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			l, m := liar(t, ""), remembers(t, hostapi.ActivateLive)
			if !c.memory {
				note := map[string]any{}
				if found, err := m.Recall(leftID, &note); !found || err != nil {
					t.Fatal(err)
				}
				delete(note, "ran")
				if err := m.Keep(leftID, note); err != nil {
					t.Fatal(err)
				}
			}
			maps.Copy(l.guests["root@web"], map[string]string{
				"look": "boot=b1 uid=0 systemd=yes store=yes hostname=web current=" + string(c.now), "why": "why=nginx_failed previous=" + string(c.before),
			})
			_, err := l.attach(m, &flakes{}, nil)
			var e *Error
			if !errors.As(err, &e) || e.RolledBack != c.back || !strings.Contains(err.Error(), "has undone the switch by itself: nginx_failed") || !strings.Contains(e.State, c.says) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// A live switch that whoever attaches has undone is known to be undone: what ran
// before is remembered.
func TestAttachKnowsThatItHasUndone(t *testing.T) {
	l := liar(t, "")
	l.guests["root@web"]["confirm"] = "refused=units boot=b1 failed=x.service"
	logins := 0
	d := &Deployer{Report: &silent{}, Memory: remembers(t, hostapi.ActivateLive), Evaluator: &flakes{}, tools: tools{open: l.open}}
	d.tools.dial = func(ctx context.Context, o remote.Options) (remote.Conn, error) {
		if o.Address.String() == "root@web" {
			if logins++; logins > 2 { // to look, to confirm, then to see what the undo has left
				l.guests["root@web"]["look"] = "boot=b1 uid=0 systemd=yes hostname=web current=" + string(ranSys)
			}
		}
		return l.dial(ctx, o)
	}
	_, err := d.Attach(t.Context(), request.Attach{Host: address(t, "root@host1"), Name: "web", Confirm: request.Confirm{Command: mine}})
	var undone *Error
	if !errors.As(err, &undone) || !undone.RolledBack {
		t.Errorf("got %v, %+v", err, undone)
	}
	l.wantTold("underway", "resume", "check", "observe", "finish")
}

// A deployment that has ended asks nobody anything, and is no longer remembered.
func TestAttachToWhatHasEnded(t *testing.T) {
	for name, m := range map[string]remembered.Store{"remembered": remembers(t, hostapi.ActivateLive), "not": {}} {
		t.Run(name, func(t *testing.T) {
			l, f := liar(t, ""), &flakes{}
			l.answers["resume"] = hostapi.Resumed{Runner: leftRun, Outcome: "switched"}
			r, err := l.attach(m, f, nil)
			if err != nil || r.Outcome != result.OutcomeSwitched || f.asked != 0 || left(m) {
				t.Errorf("got %+v, %v; the flake was asked %d times; remembered %v", r, err, f.asked, left(m))
			}
			l.wantDialled("root@host1")
		})
	}
}

// notes is a store that writes into what the host was told.
type notes struct{ l *stage }

func (n notes) Keep(string, any) error           { n.l.told = append(n.l.told, `{"KEEP":1}`); return nil }
func (n notes) Recall(string, any) (bool, error) { return false, nil }
func (n notes) Forget(string) error              { n.l.told = append(n.l.told, `{"FORGET":1}`); return nil }

// What attaching needs is there before the deployment can be attached to, and
// until it has ended.
func TestDeploymentIsRememberedUntilItHasEnded(t *testing.T) {
	for name, c := range map[string]struct {
		how  hostapi.Activation
		lost string // the request at which the connection ends for good
		told []string
	}{
		"live":          {how: hostapi.ActivateLive, told: []string{"token", "KEEP", "activate", "commit", "finish", "FORGET"}},
		"restart":       {how: hostapi.ActivateRestart, told: []string{"KEEP", "commit", "finish", "FORGET"}},
		"failed":        {how: hostapi.ActivateRestart, lost: "fail commit", told: []string{"KEEP", "commit", "FORGET"}},
		"lost":          {how: hostapi.ActivateRestart, lost: "commit", told: []string{"KEEP", "commit"}},
		"lost activate": {how: hostapi.ActivateLive, lost: "activate", told: []string{"token", "KEEP", "activate"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := liar(t, "")
			l.guests["root@web"]["switch"] = "started=" + leftID
			l.lost = c.lost
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			opened := false
			d := &Deployer{Report: &silent{}, Memory: notes{l}, tools: tools{dial: l.dial}}
			d.tools.open = func(ctx context.Context, conn remote.Conn, o hostclient.Options) (hostlink.Session, bool, error) {
				if opened {
					cancel() // nobody waits until the host is back
				}
				opened = true
				return l.open(ctx, conn, o)
			}
			r, p := d.begin(request.Deploy{Attribute: "web", Host: ptr(address(t, "root@host1")), Target: ptr(address(t, "root@web")), Action: hostapi.ActionSwitch}, nil)
			r.id = leftID
			p.record = microvm.Record{HostName: "web", SSH: ptr(true)}
			p.plan = hostapi.Plan{Runner: leftRun, System: leftSys, RegInfo: regInfo, Install: true, Activation: c.how}
			p.guest = &live.Guest{Conn: &fakeConn{stage: l, address: *p.to.Target}}
			p.standing.prepared = true
			if c.how == hostapi.ActivateRestart {
				p.guest.Facts.BootID = "b0"
			}
			decided := slices.IndexFunc(steps, func(s step) bool { return s.name == "decide" })
			list := append([]step{{"connect to the host", connect}}, steps[decided+1:]...)
			if _, err := r.through(ctx, list, p, nil); (err != nil) != (c.lost != "") {
				t.Errorf("got %v", err)
			}
			l.wantTold(c.told...)
		})
	}
}
