//go:build model

package host

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/protocol"
	"ferry/internal/host/settle"
	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

var (
	modelRuns  = flag.Int("model.runs", 2000, "how many random histories the model's test tries")
	modelSeed  = flag.Uint64("model.seed", 0, "the first seed; 0: a random one")
	modelTrace = flag.Bool("model.trace", false, "print what happens in each run")
)

// TestRandomHistories lets deployments, second deployments, microvm.nix's own
// tools, the collector, reboots, crashes, people at systemctl, clocks that are set
// and processes that are killed at any step happen to one VM in random order, and
// looks after each whether what must always hold does. A failure prints its seed.
func TestRandomHistories(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	t.Logf("seeds %d to %d: repeat one with -model.runs=1 -model.seed=SEED -model.trace", seed, seed+uint64(*modelRuns)-1)
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // each change waits for its disk
	}
	for i := range uint64(*modelRuns) {
		ok := t.Run(fmt.Sprint(seed+i), func(t *testing.T) { tryHistory(t, seed+i, false) })
		if !ok {
			t.Fatalf("seed %d failed", seed+i)
		}
	}
}

// model is one VM on a host in a directory, and what has happened to it.
type model struct {
	t      *testing.T
	h      *testHost
	rng    *rand.Rand
	clock  *clock
	units  *modelUnits
	guards map[string]*guardian
	log    []string

	deployments int
	killIn      int // steps until the process dies; negative: it lives
	lastKill    step.Step

	// legit is what `current` may name: what was installed last, and while that
	// may still be undone, what was there before.
	legit []microvm.StorePath
	// last is the last deployment that has begun to change the VM; empty once
	// somebody else has installed something.
	last struct {
		id         string
		made, prev microvm.StorePath
	}
	stopped bool // somebody has stopped it, and nobody has started it since

	meddling bool // somebody is at work between two steps
	silent   bool // the guest is out of the host's reach
	disk     modelDisk
}

// killed is how a process ends in the middle.
type killed struct{}

func tryHistory(t *testing.T, seed uint64, small bool) {
	m := &model{t: t, disk: modelDisk{small: small}, h: newTestHost(t), rng: rand.New(rand.NewPCG(seed, 0)), guards: map[string]*guardian{}, killIn: -1}
	m.clock = m.h.setClock()
	m.units = &modelUnits{m: m, state: hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}}
	step.Before = m.before
	defer func() {
		step.Before = func(step.Step) {}
		if t.Failed() || *modelTrace {
			t.Log(strings.Join(m.log, "\n"))
		}
	}()
	for range 4 + m.rng.IntN(12) {
		m.turn()
		m.check()
		if t.Failed() {
			return
		}
	}
	m.quiet()
}

func (m *model) say(format string, a ...any) { m.log = append(m.log, fmt.Sprintf(format, a...)) }

func (m *model) fail(format string, a ...any) {
	m.t.Helper()
	m.say("VIOLATION: "+format, a...)
	m.t.Errorf(format, a...)
}

func (m *model) chance(percent int) bool { return m.rng.IntN(100) < percent }

// before is called before each step that ferry makes.
func (m *model) before(s step.Step) {
	if m.killIn == 0 {
		m.killIn, m.lastKill = -1, s
		panic(killed{})
	}
	if m.killIn > 0 {
		m.killIn--
	}
	m.between()
}

// mayDie does what one process does, which may be killed at any step.
func (m *model) mayDie(what string, percent int, do func()) (survived bool) {
	if m.killIn = -1; m.chance(percent) {
		m.killIn = m.rng.IntN(24)
	}
	defer func() {
		m.killIn = -1
		switch r := recover(); r {
		case nil:
		case killed{}:
			m.say("%s: killed before %s", what, m.lastKill)
			survived = false
			// The kernel lets go of the lock with the process.
			_ = os.Remove(filepath.Join(m.h.Layout.Lib, "locks", string(web)))
		default:
			panic(r)
		}
	}()
	do()
	return true
}

// turn is one thing that happens.
func (m *model) turn() {
	switch n := m.rng.IntN(100); {
	case n < 40:
		m.deploy()
	case n < 52:
		m.disturb()
	case n < 60:
		m.tick()
	case n < 66:
		m.attach()
	case n < 74:
		m.life()
	case n < 80:
		m.reboot()
	case n < 86:
		m.setTheClock()
	case n < 92:
		m.settle(settle.Guard)
	default:
		m.rewriteNote()
	}
	if m.chance(40) {
		m.tick()
	}
}

// disturb is what others do, without asking ferry.
func (m *model) disturb() {
	switch m.rng.IntN(9) {
	case 7:
		m.fill()
	case 8:
		m.disk.free()
		m.olderNote()
	case 0, 1:
		m.microvmUpdate()
	case 2:
		m.collect()
	case 3:
		m.units.crash()
	case 4:
		m.systemctl()
	case 5:
		m.units.reexec++
		m.say("systemctl daemon-reexec")
	case 6:
		d := time.Duration(m.rng.IntN(600)) * time.Second
		m.clock.pass(d)
		m.say("%s pass", d)
	}
}

// server is one with a connection of its own to systemd.
func (m *model) server() *Server {
	srv := newServer(m.h.Layout, &connection{modelUnits: m.units, epoch: m.units.reexec}, m.h.Nix)
	srv.lookout = m.lookout()
	return srv
}

func (m *model) link(name string) microvm.StorePath { return microvm.StorePath(m.h.Link(web, name)) }

func (m *model) runners() []microvm.StorePath {
	return []microvm.StorePath{hosttest.RunnerA, hosttest.RunnerB, hosttest.RunnerC, hosttest.RunnerD}
}

// systemOf is the system in a runner.
func systemOf(r microvm.StorePath) microvm.StorePath {
	return map[microvm.StorePath]microvm.StorePath{
		hosttest.RunnerA: hosttest.SystemA, hosttest.RunnerB: hosttest.SystemB, hosttest.RunnerC: hosttest.SystemC, hosttest.RunnerD: hosttest.SystemA,
	}[r]
}

// build has a runner in the store.
func (m *model) build(r microvm.StorePath) {
	if m.inStore(r) && m.inStore(systemOf(r)) {
		return
	}
	m.disk.free() // without space nothing is built
	m.h.MakeRunner(r, systemOf(r), "-m 512M")
}

func (m *model) inStore(p microvm.StorePath) bool {
	_, err := os.Lstat(filepath.Join(m.h.Layout.Root, string(p)))
	return err == nil
}

// deploy is one deployment, up to wherever it gets.
func (m *model) deploy() {
	m.deployments++
	id := fmt.Sprintf("d%d", m.deployments)
	made := m.runners()[m.rng.IntN(4)]
	how := []hostapi.Activation{hostapi.ActivateNone, hostapi.ActivateRestart, hostapi.ActivateRestart, hostapi.ActivateLive}[m.rng.IntN(4)]
	m.units.broken = m.chance(25)
	s := &session{srv: m.server(), out: protocol.NewWriter(io.Discard)}
	m.say("deploy %s: %s, %s, broken %v", id, made, how, m.units.broken)
	alive := m.mayDie("deploy "+id, 35, func() { m.deployment(s, id, made, how) })
	m.units.broken = false
	if alive {
		m.mayDie("leaving "+id, 10, s.abandon)
	}
}

func (m *model) ask(s *session, req hostapi.Request) (any, error) {
	answer, err := s.answer(context.Background(), req)
	if err != nil {
		m.say("  %v: %v", req.Kinds(), err)
	}
	return answer, err
}

func (m *model) deployment(s *session, id string, made microvm.StorePath, how hostapi.Activation) {
	choice := []hostapi.SettleChoice{"", "", hostapi.SettleKeep, hostapi.SettleUndo}[m.rng.IntN(4)]
	_, err := m.ask(s, hostapi.Request{Prepare: &hostapi.PrepareRequest{
		Name: web, Runner: made, Derivations: []microvm.StorePath{drv(made)}, Settle: choice,
		Deployment: hostapi.Deployment{ID: id, By: "ann@laptop", Started: m.clock.now.Wall},
		Guest:      m.door(how),
	}})
	if err != nil {
		return
	}
	if m.build(made); m.chance(30) {
		m.disturb()
	}
	if _, err := m.ask(s, hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Derivations: []microvm.StorePath{drv(made)}}}); err != nil {
		return
	}
	if how == hostapi.ActivateLive && !m.units.state.Up() {
		how = hostapi.ActivateStart
	}
	req := hostapi.CommitRequest{Name: web, Runner: made, Install: true, Activation: how}
	req.Confirm.Await = how.Starts() && m.chance(70)
	if how == hostapi.ActivateLive {
		req.GuestSystem = systemOf(made)
		if _, err := m.ask(s, hostapi.Request{Activate: &hostapi.ActivateRequest{Name: web, Runner: made, Commit: &req}}); err != nil {
			return
		}
		if m.chance(20) {
			return // the operator is gone, only the guest knows
		}
		if m.chance(20) {
			m.lastResort(s, id)
			return
		}
	}
	if m.chance(20) {
		m.disturb()
	}
	m.last.id, m.last.made, m.last.prev = id, made, m.link("current")
	m.legit = []microvm.StorePath{made, m.link("current"), m.link("booted")}
	if how.Starts() {
		m.stopped = false
	}
	if _, err = m.ask(s, hostapi.Request{Commit: &req}); err != nil {
		return
	}
	if m.chance(30) {
		m.disturb()
	}
	outcome := map[hostapi.Activation]string{
		hostapi.ActivateNone: hostapi.OutcomeInstalled, hostapi.ActivateLive: hostapi.OutcomeSwitched,
		hostapi.ActivateRestart: hostapi.OutcomeRestarted, hostapi.ActivateStart: hostapi.OutcomeStarted,
	}[how]
	switch {
	case req.Confirm.Await && m.chance(25):
		m.say("  the operator leaves")
		return
	case req.Confirm.Await && m.chance(30):
		_, _ = m.ask(s, hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "it is not well"}})
	default:
		foreign := !slices.Contains(m.legit, made)
		_, err := m.ask(s, hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: outcome}})
		if err == nil && req.Confirm.Await && foreign {
			m.fail("%s was confirmed, though `current` was %s", id, m.link("current"))
		}
	}
}

// microvmUpdate is what `microvm -u` does: it knows no lock.
func (m *model) microvmUpdate() {
	r := m.runners()[m.rng.IntN(4)]
	dir := m.h.Layout.VM(web).Path()
	if _, err := os.Stat(dir); err != nil {
		return
	}
	tmp := filepath.Join(dir, "current.tmp")
	if m.build(r); os.Symlink(string(r), tmp) != nil {
		m.say("microvm -u: no space")
		return
	}
	_ = os.Remove(filepath.Join(dir, "old"))
	if now := m.link("current"); now != "" {
		_ = os.Symlink(string(now), filepath.Join(dir, "old"))
	}
	_ = os.Rename(tmp, filepath.Join(dir, "current"))
	m.say("microvm -u: %s", r)
	m.legit, m.last.id = []microvm.StorePath{r}, ""
	if left := m.h.Layout.VM(web).Notes().Left(); left != nil && left.Before != nil && (r == left.Runner || r == left.Before.Current || r == left.Before.Boots()) {
		m.legit = append(m.legit, left.Runner, left.Before.Current) // nobody can tell whose it is
	}
	if m.chance(50) {
		m.units.start("microvm -R")
	}
}

func (m *model) systemctl() {
	switch m.rng.IntN(3) {
	case 0:
		m.units.stop("systemctl stop")
	default:
		m.units.start("systemctl restart")
	}
}

// life is a person at ferry's own commands.
func (m *model) life() {
	verb := []hostapi.Action{hostapi.ActionStart, hostapi.ActionStop, hostapi.ActionRestart}[m.rng.IntN(3)]
	m.mayDie("ferry "+string(verb), 20, func() {
		m.units.by = verb
		_, err := m.server().manage().Live(context.Background(), web, verb, hostapi.Claim{By: "bob@desk"}, func(l string) { m.say("  %s", l) })
		m.say("ferry %s: %v", verb, err)
		if err == nil {
			m.stopped = verb == hostapi.ActionStop && !m.startUnsaid()
		}
	})
	m.units.by = ""
}

// attach is an operator who comes back, from whichever machine.
func (m *model) attach() {
	left := m.h.Layout.VM(web).Notes().Left()
	if left == nil {
		return
	}
	s := &session{srv: m.server(), out: protocol.NewWriter(io.Discard)}
	m.say("attach to %s", left.ID)
	alive := m.mayDie("attach", 20, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		answer, err := s.answer(ctx, hostapi.Request{Resume: &hostapi.ResumeRequest{Name: web, ID: left.ID, Settle: hostapi.SettleKeep}})
		if err != nil || answer.(*hostapi.Resumed).Phase != hostapi.PhaseAwait {
			m.say("  %+v, %v", answer, err)
			return
		}
		if m.chance(50) {
			_, _ = m.ask(s, hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: hostapi.OutcomeRestarted}})
		} else {
			_, _ = m.ask(s, hostapi.Request{Undo: &hostapi.UndoRequest{Name: web, Why: "it is not well"}})
		}
	})
	if alive {
		s.abandon()
	}
}

// tick is the turn of every guard.
func (m *model) tick() {
	for id, g := range m.guards {
		m.mayDie("guard of "+id, 15, func() {
			over, err := g.look(context.Background())
			m.say("guard of %s: %v %v", id, over, err)
			if over {
				delete(m.guards, id)
			}
		})
	}
}

func (m *model) settle(by settle.Settler) {
	m.mayDie("settle", 15, func() {
		err := m.server().Settle(context.Background(), by == settle.Boot, func(_ microvm.Name, l string) { m.say("  settle: %s", l) })
		m.say("settle by %d: %v", by, err)
	})
}

// reboot ends all processes; on hosts of ferry notes are settled before units
// start.
func (m *model) reboot() {
	m.guards = map[string]*guardian{}
	m.clock.now.Boot, m.clock.now.Since = fmt.Sprintf("boot %d", m.rng.Int()), time.Minute
	m.units.state = hostapi.UnitState{LoadState: "loaded", ActiveState: "inactive"}
	m.units.reexec++
	m.units.runs = ""
	m.say("the host reboots")
	if m.chance(60) {
		m.settle(settle.Boot)
	}
	if m.chance(70) {
		m.units.start("at boot")
	}
}

func (m *model) setTheClock() {
	d := time.Duration(m.rng.IntN(96)-48) * time.Hour
	m.clock.now.Wall = m.clock.now.Wall.Add(d)
	m.say("the clock is set by %s", d)
}

// rewriteNote makes the note one of version 0, as an older ferry would have left
// it.
func (m *model) rewriteNote() {
	notes := m.h.Layout.VM(web).Notes()
	left, err := notes.Deployment()
	if err != nil {
		return
	}
	if m.chance(30) {
		m.newerNote(left)
		return
	}
	left.Version, left.Boot, left.DeadlineSince, left.Restarts, left.Helper = 0, "", 0, 0, nil
	if err := notes.PutDeployment(left); err != nil {
		return // no space
	}
	m.say("the note of %s is of an older ferry", left.ID)
}

// collect removes from the store what no root keeps.
func (m *model) collect() {
	l := m.h.Layout
	kept := map[string]bool{}
	keep := func(target string) {
		if p, err := os.Readlink(target); err == nil && strings.HasPrefix(target, l.Root) && !strings.HasPrefix(p, "/nix/store/") {
			target = p // a root to a link of the VM's directory
		} else if err == nil {
			kept[p] = true
			return
		}
		if p, err := os.Readlink(target); err == nil {
			kept[p] = true
		}
	}
	profile := filepath.Dir(l.VM(web).Profile().Path())
	if m.chance(50) { // -d
		gens, _ := os.ReadDir(profile)
		now, _ := os.Readlink(l.VM(web).Profile().Path())
		for _, g := range gens {
			if strings.HasSuffix(g.Name(), "-link") && g.Name() != now {
				_ = os.Remove(filepath.Join(profile, g.Name()))
			}
		}
	}
	for _, dir := range []string{l.MicrovmRoots(), l.VM(web).Roots().Path(), profile} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			keep(filepath.Join(dir, e.Name()))
		}
	}
	for _, r := range m.runners() {
		if kept[string(r)] {
			kept[string(systemOf(r))] = true
		}
	}
	store := filepath.Join(l.Root, "nix/store")
	entries, _ := os.ReadDir(store)
	for _, e := range entries {
		if !kept["/nix/store/"+e.Name()] {
			m.say("the collector takes %s", e.Name())
			_ = os.RemoveAll(filepath.Join(store, e.Name()))
		}
	}
}

// check is what must hold at any time.
func (m *model) check() {
	m.t.Helper()
	current := m.link("current")
	if current != "" && !m.inStore(current) {
		m.fail("`current` names %s, which is gone", current)
	}
	if !slices.Contains(m.legit, current) && current != "" {
		m.fail("`current` is %s instead of one of %v", current, m.legit)
	}
	if m.stopped && m.units.state.Up() {
		m.fail("it runs, though somebody has stopped it")
	}
	if m.units.state.Up() && !m.inStore(m.units.runs) {
		m.fail("it runs %s, which is gone", m.units.runs)
	}
	m.checkHistory()
}

// checkHistory: a deployment is in it at most once.
func (m *model) checkHistory() {
	m.t.Helper()
	history, err := m.h.Layout.VM(web).History().Read(everything)
	if err != nil {
		m.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range history.Entries {
		if strings.HasPrefix(e.ID, "d") && seen[e.ID] {
			m.fail("%s is in the history twice", e.ID)
		}
		seen[e.ID] = true
	}
	if history.Broken > 0 {
		m.fail("%d lines of the history are broken", history.Broken)
	}
}

const everything = 1 << 20

// quiet lets all that is under way come to its end, and looks at what is left.
func (m *model) quiet() {
	m.say("quiet")
	m.disk.free()
	m.silent, m.meddling = false, true
	m.olderNote()
	m.clock.pass(24 * time.Hour)
	for range 5 {
		for id, g := range m.guards {
			over, err := g.look(context.Background())
			m.say("guard of %s: %v %v", id, over, err)
			if over {
				delete(m.guards, id)
			}
		}
		m.clock.pass(time.Hour)
	}
	if err := m.server().Settle(context.Background(), false, func(_ microvm.Name, l string) { m.say("  settle: %s", l) }); err != nil {
		m.fail("settling: %v", err)
	}
	m.check()
	if left := m.h.Layout.VM(web).Notes().Left(); left != nil && !left.Activating {
		m.fail("the note of %s is still there, in phase %q", left.ID, left.Phase)
	}
	m.checkLast()
	m.deployWell()
	m.checkFiles()
}

// checkLast: the history says of the last deployment that has changed the VM what
// is so.
func (m *model) checkLast() {
	if m.last.id == "" {
		return
	}
	e := m.h.Layout.VM(web).History().Entry(m.last.id)
	if e == nil {
		return // a live switch, which only the guest can settle
	}
	want := m.last.made
	if got := m.link("current"); e.Settled == hostapi.SettledUnconfirmed && got == m.last.prev {
		return // put back while the deployment's runs
	}
	if e.Outcome == hostapi.OutcomeRolledBack || e.Settled == hostapi.SettledUndone {
		want = m.last.prev
	}
	interrupted := e.Outcome == hostapi.OutcomeInterrupted && e.Settled == "" || e.Outcome == hostapi.OutcomeFailed && e.Settled == ""
	if got := m.link("current"); got != want && !interrupted && !m.units.removedNew(e, got) {
		m.fail("%s is %s/%s, but `current` is %s instead of %s", m.last.id, e.Outcome, e.Settled, got, want)
	}
}

// deployWell: a deployment that nothing disturbs succeeds, whatever was before.
func (m *model) deployWell() {
	m.deployments++
	id := fmt.Sprintf("d%d", m.deployments)
	s := &session{srv: m.server(), out: protocol.NewWriter(io.Discard)}
	made := hosttest.RunnerB
	_, err := m.ask(s, hostapi.Request{Prepare: &hostapi.PrepareRequest{
		Name: web, Runner: made, Derivations: []microvm.StorePath{drv(made)}, Settle: hostapi.SettleKeep,
		Deployment: hostapi.Deployment{ID: id, By: "ann@laptop", Started: m.clock.now.Wall},
	}})
	if err == nil {
		m.build(made)
		_, err = m.ask(s, hostapi.Request{Build: &hostapi.BuildRequest{Name: web, Derivations: []microvm.StorePath{drv(made)}}})
	}
	m.legit = []microvm.StorePath{made, m.link("current")}
	m.stopped = false
	if err == nil {
		_, err = m.ask(s, hostapi.Request{Commit: &hostapi.CommitRequest{Name: web, Runner: made, Install: true, Activation: hostapi.ActivateRestart}})
	}
	if err == nil {
		_, err = m.ask(s, hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: hostapi.OutcomeRestarted}})
	}
	s.abandon()
	for id, g := range m.guards {
		if over, err := g.look(context.Background()); !over {
			m.fail("the guard of %s goes on: %v", id, err)
		}
	}
	if err != nil || m.link("current") != made || m.units.runs != made || !m.units.state.Up() {
		m.fail("a deployment that nothing disturbs: %v; current %s, runs %s", err, m.link("current"), m.units.runs)
	}
	m.check()
}

// checkFiles: nothing of a deployment is left.
func (m *model) checkFiles() {
	l := m.h.Layout
	for _, dir := range []string{l.VM(web).Path(), l.VM(web).Roots().Path(), filepath.Dir(l.VM(web).Profile().Path()), filepath.Dir(l.VM(web).Notes().Path())} {
		_ = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
			name := filepath.Base(p)
			if err == nil && (strings.HasPrefix(name, ".ferry-") || strings.HasPrefix(name, "pending") || strings.HasPrefix(name, "before-") || name == "deployment.json" || name == "helper") {
				m.fail("%s is left", p)
			}
			return nil
		})
	}
}

// modelUnits is a systemd with one VM's unit.
type modelUnits struct {
	m      *model
	state  hostapi.UnitState
	runs   microvm.StorePath // the runner whose process it is
	starts int
	reexec int  // how often systemd has executed itself again
	broken bool // what is deployed now does not start
	by     hostapi.Action
}

// connection is one to that systemd, which is lost when it executes itself again.
type connection struct {
	*modelUnits
	epoch int
}

func (c *connection) lost() error {
	if c.epoch != c.reexec {
		return errors.New("the connection is closed")
	}
	return nil
}

func (u *modelUnits) begin(runner microvm.StorePath, restarts uint32) {
	u.starts++
	u.state = hostapi.UnitState{
		LoadState: "loaded", ActiveState: "active", SubState: "running", InvocationID: fmt.Sprintf("%032d", u.starts),
		Restarts: restarts, Since: u.m.clock.now.Wall,
	}
	u.runs = runner
	dir := u.m.h.Layout.VM(web).Path()
	_ = os.Remove(filepath.Join(dir, "booted"))
	_ = os.Symlink(string(runner), filepath.Join(dir, "booted"))
}

// start starts or restarts the unit with what is current, whoever says so.
func (u *modelUnits) start(who string) {
	current := u.m.link("current")
	if current == "" || !u.m.inStore(current) {
		return
	}
	u.begin(current, 0)
	u.m.stopped = false
	u.m.say("%s: runs %s", who, current)
}

func (u *modelUnits) stop(who string) {
	u.halt("inactive", "success")
	u.m.stopped = true
	// Killed just before it told the unit, a deployment can't tell this stop from a
	// start of its own that failed for a unit which the VM needs.
	if u.m.startUnsaid() {
		u.m.stopped = false
	}
	u.m.say("%s", who)
}

func (u *modelUnits) halt(state, result string) {
	u.state.ActiveState, u.state.SubState, u.state.Result = state, "dead", result
	u.runs = ""
	_ = os.Remove(filepath.Join(u.m.h.Layout.VM(web).Path(), "booted"))
}

// crash: the runner ends, and systemd starts it again, as `current` is by then.
func (u *modelUnits) crash() {
	if !u.state.Up() {
		return
	}
	current := u.m.link("current")
	if current == "" || !u.m.inStore(current) {
		u.halt("failed", "exit-code")
		return
	}
	u.begin(current, u.state.Restarts+1)
	u.m.say("the runner has ended, and systemd starts it again: %s", current)
}

// removedNew: the VM was new, and nothing of it is left.
func (u *modelUnits) removedNew(e *hostapi.HistoryEntry, current microvm.StorePath) bool {
	return current == "" && u.m.last.prev == ""
}

func (c *connection) Unit(_ context.Context, name string) (systemd.Unit, error) {
	if err := c.lost(); err != nil {
		return systemd.Unit{}, err
	}
	if name != web.Unit() {
		return systemd.Unit{}, nil
	}
	return systemd.Unit{UnitState: c.state}, nil
}

func (c *connection) DeclaredBy(context.Context, microvm.Name) (string, error) { return "", c.lost() }

func (c *connection) Run(_ context.Context, n microvm.Name, how hostapi.Activation, _ func(string)) (hostapi.UnitState, error) {
	if err := c.lost(); err != nil {
		return hostapi.UnitState{}, err
	}
	if c.m.stopped && c.by == "" {
		c.m.fail("ferry starts what somebody has stopped")
	}
	current := c.m.link("current")
	c.m.say("  ferry has systemd start %s", current)
	broken := c.broken && current == c.m.last.made
	if current == "" || !c.m.inStore(current) || broken {
		c.begin(current, 0)
		c.runs = ""
		c.state.ActiveState, c.state.SubState, c.state.Result, c.state.Restarts = "activating", "auto-restart", "exit-code", 1
		return hostapi.UnitState{}, &hostapi.Failure{Kind: hostapi.KindUnit, Message: "it does not stay up"}
	}
	c.begin(current, 0)
	c.m.silent = false
	return c.state, nil
}

func (c *connection) Stop(_ context.Context, n microvm.Name, _ func(string)) (hostapi.UnitState, error) {
	if err := c.lost(); err != nil {
		return hostapi.UnitState{}, err
	}
	last := c.state
	c.halt("inactive", "success")
	return last, nil
}

func (c *connection) Disable(context.Context, microvm.Name) error { return c.lost() }
func (c *connection) Reload(context.Context) error                { return c.lost() }
func (c *connection) Close()                                      {}

func (c *connection) Transient(_ context.Context, unit systemd.TransientUnit) error {
	if err := c.lost(); err != nil {
		return err
	}
	id := strings.TrimSuffix(strings.TrimPrefix(unit.Name, "ferry-guard-"), ".service")
	m := c.m
	m.guards[id] = &guardian{
		vm: m.h.Layout.VM(web), id: id, pause: pause, log: func(l string) { m.say("  guard: %s", l) },
		connect: func(context.Context) (*Server, error) { return m.server(), nil },
	}
	return nil
}

func (c *connection) Failure(_ context.Context, _ microvm.Name, _ time.Time, message string) *hostapi.Failure {
	return &hostapi.Failure{Kind: hostapi.KindUnit, Message: message}
}
