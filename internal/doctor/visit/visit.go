// Package visit finds out about the three machines of a deployment what
// internal/doctor judges: over the connections that a deployment would make, without
// changing anything, and in bounded time. It passes no verdict of its own.
package visit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/doctor"
	"ferry/internal/helperbin"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// DefaultLimit is how long a machine may take to let one in, and its login shell to
// come to a command: as long as in a deployment.
const DefaultLimit = remote.AnswerLimit

const (
	// lookLimit is for what is asked of Nix here, and of a guest.
	lookLimit = 45 * time.Second
	// helperHaste is how much sooner the helper ends its looks than it is given up.
	helperHaste = 4 * time.Second
	// shortLimit is for a program here that answers at once.
	shortLimit = 15 * time.Second
	// askLimit is for a login with questions to whoever sits at the terminal.
	askLimit = 2 * time.Minute
)

// Visit looks at machines.
type Visit struct {
	Nix         *nix.Nix
	SocketDir   string                              // remote.NewSocketDir's
	AskPassword func(prompt string) (string, error) // nil: no terminal
	Limit       time.Duration
	Program     helperbin.Find // the helper; nil: that of a deployment
}

// Machine is one that is logged in to.
type Machine struct {
	Where   doctor.Where
	Name    string // as the user calls it
	Address microvm.Address
	Sudo    bool
}

// entered is a machine that a command was run on.
type entered struct {
	conn  remote.Conn
	login remote.Login
	found []doctor.Finding
	err   error // of the connection
}

func (e *entered) close() {
	if e.conn != nil {
		_ = e.conn.Close()
	}
}

// enter logs in and runs a command. What keeps it from that is in what was found.
func (v *Visit) enter(ctx context.Context, m Machine) *entered {
	e := &entered{}
	if !m.Address.Local {
		within, cancel := context.WithTimeout(ctx, shortLimit)
		settings, err := remote.ReadSettings(within, m.Address)
		cancel()
		e.found = append(e.found, doctor.JudgeSettings(m.Where, m.Name, settings, err)...)
	}
	began := time.Now()
	conn, err := v.dial(ctx, m)
	e.conn, e.err = conn, err
	if !m.Address.Local || err != nil {
		e.found = append(e.found, doctor.JudgeConnection(m.Where, m.Name, err, time.Since(began))...)
	}
	if err != nil {
		return e
	}
	e.login = remote.LookAtLogin(ctx, conn, v.Limit)
	if !m.Address.Local || e.login.UID == "" {
		e.found = append(e.found, doctor.JudgeLogin(m.Where, m.Name, e.login, v.Limit)...)
	}
	if doctor.MayGoOn(e.found) {
		e.found = append(e.found, doctor.JudgeRoot(m.Where, m.Name, e.login, doctor.Rooting{Sudo: m.Sudo, Terminal: v.AskPassword != nil})...)
	}
	return e
}

// dial logs in without asking anybody first: what would have to be asked is part of
// the answer. A login that needs a person is tried with one, where there is a terminal.
func (v *Visit) dial(ctx context.Context, m Machine) (remote.Conn, error) {
	o := remote.Options{Address: m.Address, Sudo: m.Sudo, Dir: v.SocketDir, AskPassword: v.AskPassword, Batch: true, LoginLimit: v.Limit, AnswerLimit: v.Limit}
	conn, err := remote.Dial(ctx, o)
	var failed *remote.ConnectError
	if errors.As(err, &failed) && failed.Kind == remote.AuthFailed && v.AskPassword != nil {
		o.Batch, o.LoginLimit = false, max(askLimit, v.Limit)
		return remote.Dial(ctx, o)
	}
	return conn, err
}

// rest says of the checks that were not made why.
func rest(m Machine, found []doctor.Finding, why string, not ...string) []doctor.Finding {
	var whats []string
	for _, what := range doctor.Rest(m.Where, found) {
		if !contains(not, what) {
			whats = append(whats, what)
		}
	}
	return append(found, doctor.Unchecked(m.Where, m.Name, why, whats...)...)
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// ofSSH are the checks that a machine without SSH in between has not.
func ofSSH() []string {
	return []string{"ssh-config", "connection", "host-key", "login-shell", "login-noise", "login-endless", "login-slow", "sessions"}
}

// Seen is what was found on a host.
type Seen struct {
	Found []doctor.Finding
	Facts *hostapi.Examined // nil: the helper has not answered
}

// Target is the system inside a VM, and the VM's name where that is known.
type Target struct {
	Address microvm.Address
	VM      string
}

// Host looks at a host, and from there at the door of the target; nil: there is none.
func (v *Visit) Host(ctx context.Context, m Machine, target *Target) Seen {
	m.Where = doctor.Host
	var not []string
	if m.Address.Local {
		not = ofSSH()
	}
	if target == nil {
		not = append(not, "target")
	}
	e := v.enter(ctx, m)
	defer e.close()
	if !doctor.MayGoOn(e.found) {
		return Seen{Found: rest(m, e.found, whyNot(e.found), not...)}
	}
	facts, found := v.examine(ctx, m, e, target)
	e.found = append(e.found, found...)
	return Seen{Found: rest(m, e.found, "ferry's helper has not answered", not...), Facts: facts}
}

// whyNot names the check that keeps the others from being made.
func whyNot(found []doctor.Finding) string {
	for _, f := range found {
		if f.Severity == doctor.Problem {
			return "first see " + f.What
		}
	}
	return "it can't be told how to become root there"
}

// examine asks the helper, which leaves nothing on a host that lacks it.
func (v *Visit) examine(ctx context.Context, m Machine, e *entered, target *Target) (*hostapi.Examined, []doctor.Finding) {
	s, _, err := hostclient.Open(ctx, e.conn, hostclient.Options{NoTrace: true, Program: v.Program, Name: m.Name})
	if err != nil {
		return nil, doctor.JudgeHelper(m.Name, err)
	}
	defer func() { _ = s.Close() }()
	var found []doctor.Finding
	f := doctor.HostFacts{Machine: m.Name, Login: e.login, Target: target != nil, Local: m.Address.Local}
	if !m.Address.Local {
		err := v.second(ctx, e.conn)
		f.Sessions, found = err == nil, doctor.JudgeSessions(m.Name, err)
	}
	var req hostapi.ExamineRequest
	if target != nil {
		f.VM = target.VM
		req.Door, f.NoDoor = v.door(ctx, target.Address)
	}
	req.Seconds = max(1, int((v.Limit - helperHaste).Seconds()))
	within, cancel := context.WithTimeout(ctx, v.Limit)
	defer cancel()
	f.Asked = time.Now()
	err = s.Call(within, hostapi.Request{Commands: hostapi.Commands{Examine: &req}}, &f.Examined)
	f.Answered = time.Now()
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("it has not answered within %s", v.Limit)
	}
	found = append(found, doctor.JudgeHelper(m.Name, err)...)
	if err != nil {
		return nil, found
	}
	return &f.Examined, append(found, doctor.JudgeHost(f)...)
}

// second runs a command while the helper's session is open.
func (v *Visit) second(ctx context.Context, c remote.Conn) error {
	within, cancel := context.WithTimeout(ctx, v.Limit)
	defer cancel()
	return c.Run(within, remote.Command{Args: []string{"true"}})
}

// door is where the target takes connections, or why that is not known.
func (v *Visit) door(ctx context.Context, target microvm.Address) (*hostapi.GuestDoor, string) {
	within, cancel := context.WithTimeout(ctx, shortLimit)
	defer cancel()
	host, port, err := remote.Endpoint(within, target)
	if err != nil {
		return nil, err.Error()
	}
	return &hostapi.GuestDoor{Host: host, Port: port}, ""
}
