package deploy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/transfer"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
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

// Session is a conversation with the helper on a host: one request at a time.
type Session interface {
	Call(ctx context.Context, req hostapi.Request, result any) error
	Close() error
}

// Deployer has what all deployments of a run share.
type Deployer struct {
	Report      Reporter
	Evaluator   Evaluator
	Nix         *nix.Nix // the operator's
	SocketDir   string
	AskPassword func(prompt string) (string, error)
	// Memory is for attaching to a deployment later; nil: nothing is kept.
	Memory Memory

	tools tools
}

// tools are what tests replace; nil: the real ones.
type tools struct {
	dial   func(context.Context, remote.Options) (remote.Conn, error)
	open   func(context.Context, remote.Conn, opening) (_ Session, uploaded bool, _ error)
	helper func(context.Context, remote.Conn, []string) (*transfer.Process, error)
	// entered is told of each step that begins.
	entered func(step string)
}

// opening is how a session is opened.
type opening struct {
	noTrace bool // leave nothing of the helper on the host
	log     func(source, line string)
}

func (d *Deployer) dial(ctx context.Context, o remote.Options) (remote.Conn, error) {
	o.Dir, o.AskPassword = d.SocketDir, d.AskPassword
	if d.tools.dial != nil {
		return d.tools.dial(ctx, o)
	}
	return remote.Dial(ctx, o)
}

func (d *Deployer) open(ctx context.Context, c remote.Conn, o opening) (Session, bool, error) {
	if d.tools.open != nil {
		return d.tools.open(ctx, c, o)
	}
	return openHelper(ctx, c, o)
}

func (d *Deployer) helper(ctx context.Context, c remote.Conn, args ...string) (*transfer.Process, error) {
	if d.tools.helper != nil {
		return d.tools.helper(ctx, c, args)
	}
	return startHelper(ctx, c, args)
}

// door is the way into a guest.
func (d *Deployer) door(target microvm.Address, sudo bool) live.Door {
	return live.Door{Address: target, Dial: func(ctx context.Context, fresh bool) (live.Conn, error) {
		conn, err := d.dial(ctx, remote.Options{Address: target, Sudo: sudo, Fresh: fresh})
		if err != nil {
			return nil, err
		}
		return conn, nil
	}}
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
