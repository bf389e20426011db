//go:build lab

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// subject is a VM that faults are tried on. Between two faults it is in state A:
// revision rev is deployed and runs.
type subject struct {
	*lane
	way  *way
	name string
	dir  string // of its flake, on the operator
	rev  int
	// foreign is the runner that somebody else has made current in the midst of a
	// deployment.
	foreign string
}

// tooLong is when a run of ferry counts as hanging, in patience.
const tooLong = 5 * time.Minute

// subjectOf is the lane's VM for a way of deploying; it is made when it is first
// needed.
func (l *lane) subjectOf(ctx context.Context, w *way) (*subject, error) {
	if s := l.subjects[w.name]; s != nil {
		s.way = w // ways of one name share a VM, and differ in what is deployed
		return s, nil
	}
	s := &subject{lane: l, way: w, name: w.name + "-" + l.host.Name, rev: 1}
	s.dir = "/root/faults/" + s.name
	if err := l.host.ForgetVM(ctx, s.name); err != nil {
		return nil, err
	}
	if err := l.WriteFlake(ctx, s.dir, "", map[string]string{s.name: w.module(s.name, s.rev)}); err != nil {
		return nil, err
	}
	if err := s.first(ctx); err != nil {
		return nil, err
	}
	l.subjects[w.name] = s
	return s, nil
}

// autostarts: on host2 VMs don't start with their host, somebody has to.
func (l *lane) autostarts() bool { return l.host.Name != "host2" }

// first brings a new subject to state A.
func (s *subject) first(ctx context.Context) error {
	if s.way.onFirst != nil {
		if err := s.way.onFirst(ctx, s); err != nil {
			return err
		}
	} else if r := s.ferry(ctx, s.args()...); r.code != 0 {
		return fmt.Errorf("the first deployment: %s", r)
	}
	if !s.autostarts() {
		return nil
	}
	if r := s.ferry(ctx, "autostart", s.name, "on", "--host", "root@"+s.host.Name); r.code != 0 {
		return fmt.Errorf("making it start with the host: %s", r)
	}
	return nil
}

// revise writes a module for the next revision.
func (s *subject) revise(ctx context.Context, module func(name string, rev int) string) error {
	return s.WriteFile(ctx, path.Join(s.dir, s.name+".nix"), module(s.name, s.rev))
}

// args are those of the deployment that faults disturb.
func (s *subject) args() []string { return slices.Concat(s.plainArgs(), s.way.args) }

// plainArgs leave out what the way demands: they change nothing where all is done.
func (s *subject) plainArgs() []string {
	args := []string{"rebuild", s.name, "root@" + s.host.Name}
	if s.way.target != "" {
		args = append(args, "root@"+s.way.target)
	}
	return append(args, "--json", "--update-flake", s.flakeRef())
}

func (s *subject) flakeRef() string {
	return fmt.Sprintf("git+https://git.example.org/infra?ref=r%d", s.rev)
}

// ran is one run of ferry.
type ran struct {
	code           int // -1: it was killed
	stdout, stderr string
	result         result.Result // zero where it printed none
	hung           bool
	took           time.Duration
}

func (r *ran) String() string { return fmt.Sprintf("exit code %d\n%s%s", r.code, r.stderr, r.stdout) }

// pidFile has the process id of the ferry that is to be disturbed.
func (s *subject) pidFile() string { return "/run/faults-" + s.name }

// ferry runs ferry on the operator, in a process group of its own.
func (s *subject) ferry(ctx context.Context, args ...string) *ran {
	return s.ferryWith(ctx, nil, args...)
}

// ferryWith is ferry with an environment.
func (s *subject) ferryWith(ctx context.Context, env []string, args ...string) *ran {
	ctx, cancel := lab.WithPatience(ctx, tooLong)
	defer cancel()
	var out, errs bytes.Buffer
	began := time.Now()
	err := s.operator.Run(ctx, lab.Cmd{
		Args: slices.Concat([]string{"setsid", "--wait", "sh", "-c", `echo $$ >"$0" && exec "$@"`, s.pidFile(), "ferry"}, args),
		Dir:  s.dir, Env: env, Stdout: &out, Stderr: &errs,
	})
	r := &ran{stdout: out.String(), stderr: errs.String(), took: time.Since(began), hung: ctx.Err() != nil}
	_ = json.Unmarshal(out.Bytes(), &r.result)
	var re *lab.RunError
	if errors.As(err, &re) {
		r.code = re.ExitCode
		if r.code > 128 && r.code != 130 {
			r.code = -1
		}
	} else if err != nil {
		r.code, r.stderr = -1, r.stderr+err.Error()
	}
	if r.hung {
		_ = s.signalFerry(context.WithoutCancel(ctx), "KILL") // it may just have ended
	}
	return r
}

// signalFerry sends a signal to the operator's ferry and all in its process group,
// as a terminal does.
func (s *subject) signalFerry(ctx context.Context, name string) error {
	_, err := s.operator.Output(ctx, "sh", "-c", `kill -s "$1" -- "-$(cat "$2")"`, "sh", name, s.pidFile())
	return err
}

// start starts the VM where it is down: after the host's death nobody has.
func (s *subject) start(ctx context.Context) error {
	out, err := s.on(ctx, onHost, `systemctl start "microvm@$1" && systemctl is-active "microvm@$1"`, s.name)
	if err != nil {
		return fmt.Errorf("the VM does not start: %s (%w)", strings.TrimSpace(out), err)
	}
	return nil
}
