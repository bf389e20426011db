package deploy

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"ferry/internal/deploy/hostlink"
	"ferry/internal/deploy/live"
	"ferry/internal/deploy/memory"
	"ferry/internal/deploy/request"
	"ferry/internal/deploy/transfer"
	"ferry/internal/flake"
	"ferry/internal/guest"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// Reporter is told how a deployment goes.
type Reporter interface {
	Step(subject, format string, args ...any)
	Detail(subject, format string, args ...any)
	Warn(format string, args ...any)
	Log(subject string) io.WriteCloser
}

// Evaluator yields a VM's record.
type Evaluator interface {
	Evaluate(ctx context.Context, src flake.Source, name microvm.Name) (*flake.Evaluation, error)
	// Archive and Fleet are for an evaluation on the host.
	Archive(ctx context.Context, src flake.Source, name microvm.Name) (*flake.Archive, error)
	Fleet(ctx context.Context, src flake.Source) (flake.Fleet, []string, error)
}

// Deployer has what all deployments of a run share.
type Deployer struct {
	Report      Reporter
	Evaluator   Evaluator
	Nix         *nix.Nix // the operator's
	SocketDir   string
	AskPassword func(prompt string) (string, error)
	// Ask asks the user on a terminal, who says yes or no; nil: there is none.
	Ask func(ctx context.Context, question string) (bool, error)
	// Memory is for attaching to a deployment later; nil: nothing is kept.
	Memory memory.Store

	tools tools
}

// tools are what tests replace; nil: the real ones.
type tools struct {
	dial        func(context.Context, remote.Options) (remote.Conn, error)
	open        hostlink.Opener
	startImport func(context.Context, remote.Conn) (*transfer.Process, error)
	endpoint    func(context.Context, microvm.Address) (host string, port int, err error)
	// entered is told of each step that begins.
	entered func(step string)
}

func (d *Deployer) dial(ctx context.Context, o remote.Options) (remote.Conn, error) {
	o.Dir, o.AskPassword = d.SocketDir, d.AskPassword
	if d.tools.dial != nil {
		return d.tools.dial(ctx, o)
	}
	return remote.Dial(ctx, o)
}

// link is the host of a deployment, not connected yet.
func (r *run) link(to request.Resolved) *hostlink.Link {
	l := &hostlink.Link{
		NoTrace: to.DryRun, Report: r.say, VM: to.Name, ID: r.id, Open: r.tools.open, StartImport: r.tools.startImport,
	}
	if to.Host != nil {
		l.Address = *to.Host
		l.Dial = func(ctx context.Context) (remote.Conn, error) {
			return r.dial(ctx, remote.Options{Address: *to.Host, Sudo: to.HostSudo})
		}
	}
	return l
}

// way is the way of a closure to the host.
func (r *run) way() transfer.Way {
	return transfer.Way{To: r.host.Address, Host: r.host, Report: r.say, Nix: func(log io.Writer) transfer.Nix {
		n := *r.Nix
		if log != nil {
			n.Log = log
		}
		return &n
	}}
}

// door is the way into the guest.
func (r *run) door(to request.Resolved) live.Door {
	return live.Door{Address: *to.Target, Dial: func(ctx context.Context, fresh bool) (live.Conn, error) {
		if !fresh {
			if conn, err := r.guest.Take(ctx); conn != nil || err != nil {
				return conn, err
			}
		}
		conn, err := r.dial(ctx, remote.Options{Address: *to.Target, Sudo: to.TargetSudo, Fresh: fresh})
		if err != nil {
			return nil, err
		}
		return conn, nil
	}}
}

// visit is which guest is expected behind the door. probe is a path that it sees
// if it shares the host's store.
func (r *run) visit(p progress, probe microvm.StorePath) live.Visit {
	return live.Visit{
		VM: p.to.Name, Attribute: p.to.Attribute, HostName: p.hostName(),
		Known: func(f guest.Facts) bool { return p.recognises(r.id, f) }, Probe: probe, Report: r.say, OnlySay: p.to.DryRun,
	}
}

// hostName is what the guest must call itself. Without an evaluation here it is the
// host's word, which only tells the guests of that host apart: see vouched.
func (p progress) hostName() string { return cmp.Or(p.record.HostName, p.plan.HostName) }

// recognises reports whether a machine, by its own word, is the guest of a VM without
// a host name: it has this very deployment's switch, or runs what the host believes.
func (p progress) recognises(id string, f guest.Facts) bool {
	return f.Switching == id || f.Armed == id || f.Current != "" && (f.Current == p.facts.VM.Running || p.attached != nil && f.Current == p.plan.System)
}

// voice reports about one VM.
type voice struct {
	to Reporter
	vm microvm.Name
}

func (v *voice) Step(format string, args ...any)   { v.to.Step(string(v.vm), format, args...) }
func (v *voice) Detail(format string, args ...any) { v.to.Detail(string(v.vm), format, args...) }
func (v *voice) Warn(format string, args ...any)   { v.to.Warn(format, args...) }
func (v *voice) Log() io.WriteCloser               { return v.to.Log(string(v.vm)) }

func (v *voice) warnAll(warnings []string) {
	for _, w := range warnings {
		v.Warn("%s", w)
	}
}

func newID() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails, as documented
	return time.Now().UTC().Format("20060102T150405") + "-" + hex.EncodeToString(b[:])
}

// Operator names who deploys, for the lock and the history: user@machine.
func Operator() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return strings.ToValidUTF8(name+"@"+machine, "?")
}
