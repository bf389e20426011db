package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/deploy/hostlink"
	"ferry/internal/deploy/transfer"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// world is an operator's surroundings, none of them real: a host, a guest, the
// operator's Nix, its memory and its terminal. It notes what it is asked, and
// fails where it is told to.
type world struct {
	t      testing.TB
	trace  []string
	cancel context.CancelFunc
	fault  fault
	mu     sync.Mutex // of what two can do at once: the host and the guest are asked together
	count  map[string]int
	step   string // that is under way
	points []point

	// host
	answers  map[string][]any // by the kind of request, one after another, the last again and again
	phase    string           // of the host's deployment: empty, prepared, switching, awaiting, ended
	outcome  string
	settled  hostapi.Settled
	commits  []hostapi.CommitRequest
	finishes []hostapi.FinishRequest
	sessions int // open ones
	// token and registration are what the host answers; empty: the truth.
	token, registration string
	reboots             int
	// unfinished: a session ended, and the host was not told how.
	unfinished bool
	// neverUndone: the user wants no undo.
	neverUndone bool
	// early: `current` was moved for a switch that nobody had confirmed.
	early bool

	// guest
	guest    guestWorld
	conns    int // open connections
	sudoPass bool

	// operator
	ev      *flake.Evaluation
	archive *flake.Archive
	fleet   flake.Fleet
	nixDir  string
	// terminal is what the user says to a question: yes, no; empty: there is none.
	terminal string
	memory   map[string][]byte
}

// guestWorld is a machine that can be switched, goes back, and boots.
type guestWorld struct {
	current, before, host microvm.StorePath // host: what the host would boot now
	boot                  int
	switched, decided     bool
	confirmed             bool
	id                    string
	// status is that of the switch, refuses why a confirmation fails, gone an
	// address that never answers.
	status, refuses string
	facts           string // further answers of look
	gone            bool
	refusesStart    string
	// elsewhere: it doesn't share the host's store.
	elsewhere bool
	loaded    string // the registration that it was sent
	// door is what keeps one from logging in; nil, or a nil error: nothing does.
	door func(o remote.Options) *remote.ConnectError
	slow time.Duration // its login takes so long
}

// point is something that is done, the Nth time, in a step.
type point struct {
	step, at string
	n        int
}

// fault is what goes wrong: the Nth time that something is done.
type fault struct {
	at  string
	n   int
	how string // fails, cancelled, lost, lost after, gone
}

func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// point notes that something is done, and says what goes wrong with it.
func (w *world) point(what string) string {
	w.mu.Lock()
	w.count[what]++
	w.points = append(w.points, point{w.step, what, w.count[what]})
	hit := w.fault.at == what && w.count[what] == w.fault.n
	w.mu.Unlock()
	if hit {
		w.say("FAULT %s", w.fault.how)
		if w.fault.how == "cancelled" {
			w.cancel()
		}
		return w.fault.how
	}
	return ""
}

func (w *world) Step(s, format string, args ...any)   { w.say("step "+s+": "+format, args...) }
func (w *world) Detail(s, format string, args ...any) { w.say("detail "+s+": "+format, args...) }
func (w *world) Warn(format string, args ...any)      { w.say("warn "+format, args...) }
func (w *world) Log(s string) io.WriteCloser          { return &worldLog{w} }

type worldLog struct{ w *world }

func (l *worldLog) Write(p []byte) (int, error) {
	l.w.say("log %s", strings.TrimSpace(string(p)))
	return len(p), nil
}
func (l *worldLog) Close() error { return nil }

func (w *world) Keep(id string, doc any) error {
	b, _ := json.Marshal(doc)
	w.say("keep %s", b)
	w.memory[id] = b
	return nil
}

func (w *world) Recall(id string, doc any) (bool, error) {
	b, ok := w.memory[id]
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(b, doc)
}

func (w *world) Forget(id string) error {
	w.say("forget")
	delete(w.memory, id)
	return nil
}

func (w *world) Evaluate(ctx context.Context, src flake.Source, n microvm.Name) (*flake.Evaluation, error) {
	w.say("evaluate %s %q", n, src)
	switch w.point("evaluate") {
	case "fails", "lost", "lost after", "gone":
		return nil, errors.New("the flake is broken")
	case "cancelled":
		return nil, ctx.Err()
	}
	ev := *w.ev
	return &ev, nil
}

func (w *world) Archive(ctx context.Context, src flake.Source, n microvm.Name) (*flake.Archive, error) {
	w.say("archive %s", n)
	switch w.point("archive") {
	case "fails", "lost", "lost after", "gone":
		return nil, errors.New("the flake is broken")
	case "cancelled":
		return nil, ctx.Err()
	}
	return w.archive, nil
}

func (w *world) Fleet(ctx context.Context, src flake.Source) (flake.Fleet, []string, error) {
	w.say("fleet")
	return w.fleet, []string{"a warning of the flake"}, nil
}

// dial connects to root@host1 or to a guest.
func (w *world) dial(ctx context.Context, o remote.Options) (remote.Conn, error) {
	at := o.Address.String()
	words := at
	if o.Sudo {
		words += "+sudo"
	}
	if o.Fresh {
		words += " fresh"
	}
	if o.Batch {
		words += " batch"
		time.Sleep(time.Millisecond) // after the host, in a known order
	}
	w.say("dial %s", words)
	time.Sleep(7 * time.Millisecond) // so that no deadline is met exactly
	bad := func(k remote.ConnectKind) error { return &remote.ConnectError{Host: at, Kind: k, Stderr: "no"} }
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch w.point("dial " + at) {
	case "fails":
		return nil, bad(remote.AuthFailed)
	case "cancelled":
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	case "lost", "lost after":
		return nil, bad(remote.Dropped)
	case "gone":
		w.guest.gone = true
	}
	if at == "root@web" {
		if err := w.guest.lets(ctx, o); err != nil {
			return nil, err
		}
	}
	if w.guest.gone && at == "root@web" {
		return nil, bad(remote.Unreachable)
	}
	w.opened(1)
	return &worldConn{w: w, at: o.Address}, nil
}

func (w *world) opened(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns += n
}

type worldConn struct {
	remote.Conn
	w      *world
	at     microvm.Address
	closed bool
}

func (c *worldConn) Address() microvm.Address   { return c.at }
func (c *worldConn) Root(context.Context) error { return nil }
func (c *worldConn) SudoPassword() bool         { return c.w.sudoPass && c.at.Host == "host1" }
func (c *worldConn) NixCopy() remote.NixTarget {
	return remote.NixTarget{Store: "ssh-ng://" + c.at.String(), Env: []string{"NIX_SSHOPTS=x"}}
}
func (c *worldConn) Close() error {
	if !c.closed {
		c.closed = true
		c.w.opened(-1)
		c.w.say("close %s", c.at)
	}
	return nil
}

// Run plays ferry's scripts in the guest.
func (c *worldConn) Run(ctx context.Context, cmd remote.Command) error {
	w := c.w
	name := strings.Trim(strings.TrimPrefix(cmd.Shown, "ferry's script "), "`")
	marker, args := cmd.Args[4], cmd.Args[5:]
	if name == "follow" {
		name += " " + args[2]
	}
	shown := strings.Join(args, "|")
	if i := strings.Index(shown, "\n"); i >= 0 {
		shown = shown[:i] + "…"
	}
	w.say("guest %s: %s", name, shown)
	if err := ctx.Err(); err != nil {
		return err
	}
	dropped := &remote.ConnectError{Host: c.at.String(), Kind: remote.Dropped, Stderr: "dropped"}
	how := w.point("guest " + name)
	switch how {
	case "fails":
		return &remote.ExitError{Host: c.at.String(), CommandLine: name, Code: 1, Stderr: "it failed"}
	case "lost":
		return dropped
	case "gone":
		w.guest.gone = true
		return dropped
	case "cancelled":
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if w.guest.gone {
		return dropped
	}
	answer := w.guest.answer(name, args)
	if strings.Contains(answer, "started=") && cmd.Stdin != nil {
		b, _ := io.ReadAll(cmd.Stdin)
		w.guest.loaded = string(b)
	}
	for line := range strings.Lines(answer) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "LOG "); ok {
			fmt.Fprintln(cmd.Stdout, text)
			continue
		}
		fmt.Fprintf(cmd.Stdout, "%s %s\n", marker, line)
	}
	if how == "lost after" {
		return dropped
	}
	return nil
}

func (g *guestWorld) lets(ctx context.Context, o remote.Options) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(g.slow):
	}
	if g.door != nil {
		if e := g.door(o); e != nil {
			e.Host = o.Address.String()
			return e
		}
	}
	return nil
}

// reboot is what the host does as a last resort.
func (g *guestWorld) reboot() {
	g.gone, g.boot = false, g.boot+1
	if g.switched {
		g.current, g.switched = g.before, false
	}
}

func (g *guestWorld) answer(name string, args []string) string {
	boot := fmt.Sprintf("begun=\nboot=b%d\n", g.boot)
	switch name {
	case "ask":
		return boot + "hostname=web\nstore=yes\ncurrent=" + string(g.current) + "\n" + g.facts
	case "look":
		s := boot + "uid=0\nsystemd=yes\nstore=yes\nhostname=web\ncurrent=" + string(g.current) + "\n" + g.facts
		if g.switched && !g.decided {
			s += "armed=" + g.id + "\n"
		}
		return s
	case "switch":
		if g.refusesStart != "" {
			return boot + "refused=" + g.refusesStart + "\n"
		}
		if g.elsewhere && args[8] != "" {
			return boot + "refused=" + args[8] + " is not here\n"
		}
		g.before, g.id = g.current, args[2]
		if args[1] != "dry-activate" {
			g.switched, g.decided = true, false
			g.current = microvm.StorePath(args[0])
		}
		return boot + "started=" + args[2] + "\n"
	case "follow switch":
		if args[0] != g.id {
			return boot + "status=unknown\n"
		}
		if g.status == "" {
			return boot + "LOG activating\nstatus=0\n"
		}
		return boot + "LOG activating\nstatus=" + g.status + "\n"
	case "follow undo":
		g.facts = ""
		return boot + "status=0\n"
	case "confirm":
		s := boot + "current=" + string(g.current) + "\n"
		if g.refuses != "" {
			return s + g.refuses + "\n"
		}
		if string(g.current) != args[1] {
			return s + "refused=system\n"
		}
		if args[0] != "" {
			if g.switched && g.decided && !g.confirmed {
				return s + "undone=yes\n"
			}
			g.decided, g.confirmed = true, true
		}
		return s + "confirmed=yes\n"
	case "undo":
		switch {
		case !g.switched:
			return boot + "answer=nothing\n"
		case g.confirmed:
			return boot + "answer=confirmed\n"
		}
		g.decided, g.current = true, g.before
		return boot + "answer=undoing\n"
	}
	return boot
}

// worldSession is a session with the host.
type worldSession struct {
	w             *world
	ended, closed bool
}

func (w *world) open(_ context.Context, _ remote.Conn, _ hostclient.Options) (hostlink.Session, bool, error) {
	w.sessions++
	w.say("session begins")
	return &worldSession{w: w}, false, nil
}

// ask plays the user at a terminal.
func (w *world) ask(ctx context.Context, question string) (bool, error) {
	w.say("asked: %s", question)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return w.terminal == "yes", nil
}

func (w *world) deployer() *Deployer {
	d := &Deployer{Report: w, Evaluator: w, Nix: w.nix(), Memory: w, tools: tools{
		dial: w.dial, open: w.open, startImport: w.startImport, endpoint: w.endpoint, entered: w.entered,
	}}
	if w.terminal != "" {
		d.Ask = w.ask
	}
	return d
}

func (w *world) entered(step string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step = step
}

func (w *world) endpoint(_ context.Context, a microvm.Address) (string, int, error) {
	return a.Host, 22, nil
}

// lostConnection is what a session says whose host has gone.
func lostConnection() error {
	return lostError{&hostclient.LostError{}}
}

type lostError struct{ error }

func (lostError) Error() string {
	return "the connection to root@host1 was lost: ferry's helper there ended without an answer"
}
func (e lostError) Unwrap() error { return e.error }

// requestKind is what a request asks for, and all of it as JSON.
func requestKind(req hostapi.Request) (string, string) {
	b, _ := json.Marshal(req)
	var kinds map[string]json.RawMessage
	_ = json.Unmarshal(b, &kinds)
	for k := range kinds {
		return k, string(b)
	}
	return "", ""
}

func (s *worldSession) Call(ctx context.Context, req hostapi.Request, result any) error {
	w := s.w
	kind, text := requestKind(req)
	w.say("host %s", text)
	if s.ended {
		return lostConnection()
	}
	if ctx.Err() != nil {
		return remote.Interrupted(ctx, "waiting for root@host1")
	}
	how := w.point("host " + kind)
	switch how {
	case "fails":
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: kind + " failed"}
	case "fails, dealt with":
		if req.Commit != nil && !req.Commit.Activation.Starts() { // there is nothing to be put back
			return &hostapi.Failure{Kind: hostapi.KindFailed, Message: kind + " failed"}
		}
		w.phase = "ended"
		return &hostapi.Failure{Kind: hostapi.KindFailed, Message: kind + " failed", State: "the host has put all back", RolledBack: true}
	case "lost":
		s.end()
		return lostConnection()
	case "cancelled":
		if ctx.Err() != nil {
			return remote.Interrupted(ctx, "waiting for root@host1")
		}
	}
	answer, err := w.does(kind, req)
	if how == "lost after" {
		s.end()
		return lostConnection()
	}
	if err != nil || result == nil {
		return err
	}
	b, _ := json.Marshal(answer)
	return json.Unmarshal(b, result)
}

func (s *worldSession) Close() error {
	if !s.closed && !s.ended {
		s.w.say("session ends")
		if s.w.phase == "prepared" {
			s.w.unfinished = true // and nobody has said why
		}
		s.end()
	}
	s.closed = true
	return nil
}

// end is what the host does when the session ends, or its connection.
func (s *worldSession) end() {
	s.ended = true
	s.w.sessions--
	if s.w.phase == "prepared" {
		s.w.phase, s.w.outcome = "ended", "interrupted"
	}
}

func (s *worldSession) Closed() bool { return s.closed || s.ended }

func (s *worldSession) Registration(ctx context.Context, system microvm.StorePath) (io.Reader, error) {
	s.w.say("registration of %s", system)
	switch s.w.point("host registration") {
	case "", "lost after":
		if w := s.w; w.registration != "" {
			return strings.NewReader(w.registration), nil
		}
		return strings.NewReader(string(system) + "\n" + strings.Repeat("0", 64) + "\n1\n\n0\n"), nil
	case "cancelled":
		return nil, ctx.Err()
	case "lost":
		s.end()
		return nil, lostConnection()
	}
	return nil, errors.New("there is no registration")
}

// startImport plays the helper that takes in what Nix has exported.
func (w *world) startImport(ctx context.Context, _ remote.Conn) (*transfer.Process, error) {
	w.say("import")
	how := w.point("import")
	r, in := io.Pipe()
	got := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, r)
		got <- err
	}()
	wait := func() error {
		err := <-got
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case how != "" && how != "cancelled":
			return errors.New("the helper failed")
		}
		return err
	}
	return &transfer.Process{Stdin: in, Stdout: strings.NewReader("registration\n"), Wait: wait}, nil
}

func (w *world) scripted(kind string) any {
	a := w.answers[kind]
	if len(a) == 0 {
		return struct{}{}
	}
	if len(a) > 1 {
		w.answers[kind] = a[1:]
	}
	return a[0]
}

// does is the host's part.
func (w *world) does(kind string, req hostapi.Request) (any, error) {
	answer := w.scripted(kind)
	if f, ok := answer.(*hostapi.Failure); ok {
		if f.State != "" {
			w.phase = "ended"
		}
		return nil, f
	}
	switch kind {
	case "plan":
		if p, ok := answer.(hostapi.Plan); ok && req.Plan.Restart == hostapi.RestartAlways && p.Activation == hostapi.ActivateLive {
			p.Activation = hostapi.ActivateRestart
			return p, nil
		}
	case "token":
		made := "/nix/store/" + strings.Repeat("0", 32) + "-" + req.Token.Name
		if w.token != "" {
			made = w.token
		}
		return made, nil
	case "prepare":
		w.phase = "prepared"
	case "activate":
		w.phase, w.neverUndone = "switching", req.Activate.Commit.Confirm.NoRollback
	case "commit":
		c := *req.Commit
		w.commits = append(w.commits, c)
		if c.Activation == hostapi.ActivateLive && !w.guest.confirmed {
			w.early = true
		}
		if c.Activation.Starts() {
			w.guest.boot++
			w.guest.door = nil
			w.guest.before, w.guest.current = w.guest.current, w.guest.host
		}
		if c.Confirm.Await && c.Activation.Starts() {
			w.phase = "awaiting"
			return hostapi.Committed{Generation: 7, Deadline: time.Now().Add(4 * time.Minute)}, nil
		}
		if c.Activation == hostapi.ActivateLive {
			w.phase, w.outcome = "ended", "switched"
		}
		return hostapi.Committed{Generation: 7}, nil
	case "finish":
		w.finishes = append(w.finishes, *req.Finish)
		w.phase, w.outcome = "ended", req.Finish.Outcome
	case "undo":
		w.phase, w.outcome, w.settled = "ended", "rolled-back", hostapi.SettledUndone
		w.guest.boot++
		w.guest.current = w.guest.before
		return hostapi.Undone{State: "the previous runner runs again"}, nil
	case "reboot":
		w.reboots++
		if w.guest.gone {
			w.guest.reboot()
			return hostapi.Rebooted{Before: true, Restarted: true, Reached: true, Runner: oldRun, System: w.guest.current, Ran: req.Reboot.Ran, Why: "it boots the old runner"}, nil
		}
		return hostapi.Rebooted{Before: true, Reached: true}, nil
	case "resume":
		if _, ok := w.answers["resume"]; ok {
			return answer, nil
		}
		r := hostapi.Resumed{}
		switch w.phase {
		case "awaiting":
			r.Phase, r.Deadline = hostapi.PhaseAwait, time.Now().Add(time.Minute)
		case "ended":
			r.Outcome, r.Settled, r.Error = w.outcome, w.settled, "as the host says"
		}
		return r, nil
	}
	return answer, nil
}

// nix is a program that notes its words and can be told to fail.
func (w *world) nix() *nix.Nix {
	script := `#!/bin/sh
cd "$FAKE" || exit 1
echo "$(basename "$0") $*" >>log
[ -s fault ] && case " $* " in *" $(cat fault) "*) rm fault; echo "error: it failed" >&2; exit 1;; esac
case "$*" in
*"store info"*) echo '{"trusted":1}';;
*--requisites*) echo "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x.drv"; echo "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner.drv";;
*"build "*) echo '[{"drvPath":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner.drv","outputs":{"out":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner"}}]';;
esac
`
	if err := os.WriteFile(filepath.Join(w.nixDir, "nix"), []byte(script), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink("nix", filepath.Join(w.nixDir, "nix-store")); err != nil && !errors.Is(err, os.ErrExist) {
		w.t.Fatal(err)
	}
	return &nix.Nix{Program: filepath.Join(w.nixDir, "nix"), Env: []string{"FAKE=" + w.nixDir}}
}
