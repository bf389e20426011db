package microvmcmd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/user"
	"time"

	"ferry/internal/flake"
	"ferry/internal/host"
	"ferry/internal/host/inventory"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Machine is this host.
type Machine interface {
	List(ctx context.Context) ([]hostapi.Listed, error)
	Look(ctx context.Context, n microvm.Name) (*hostapi.Listed, error)
	FindVsock(ctx context.Context, n microvm.Name) (*inventory.Vsock, error)
}

// Deployer is what may change this host; it is there only for root.
type Deployer interface {
	CheckCreate(ctx context.Context, n microvm.Name) error
	UpdateFlake(ctx context.Context, n microvm.Name) (string, error)
	Update(ctx context.Context, req host.UpdateRequest, answers *host.Answers) (*host.Updated, error)
}

// Evaluator yields a VM's record.
type Evaluator interface {
	Evaluate(ctx context.Context, src flake.Source, name microvm.Name) (*flake.Evaluation, error)
}

// Reporter is told how things go.
type Reporter interface {
	Step(subject, format string, args ...any)
	Warn(format string, args ...any)
	// Problem prints an error of one VM, where others go on.
	Problem(subject string, err error)
	// Text prints data.
	Text(text string) error
}

// Command runs the options.
type Command struct {
	Machine  Machine
	Deploy   func(ctx context.Context) (Deployer, error) // called at most once
	Evaluate Evaluator
	Report   Reporter
	Answers  *host.Answers
	// Exec replaces this process: a program, its arguments with argv 0, and the
	// working directory (empty: this one).
	Exec func(program string, argv []string, dir string) error
	// Program is this program's own file, Lib ferry's own directory.
	Program, Lib string
	Root         bool // whether this process is root's
}

// PartialError says that some VMs failed and others did not.
type PartialError struct {
	Failed []microvm.Name
	Done   int
	Err    error // of the first that failed
}

func (e *PartialError) Error() string {
	if e.Done == 0 && len(e.Failed) == 1 {
		return fmt.Sprintf("%s failed", e.Failed[0])
	}
	return fmt.Sprintf("%d of %d MicroVMs failed: %s", len(e.Failed), len(e.Failed)+e.Done, join(e.Failed))
}

// SomeDone reports whether others did not.
func (e *PartialError) SomeDone() bool { return e.Done > 0 }

// Unwrap gives the error of the first VM that failed, unless others are done.
func (e *PartialError) Unwrap() error {
	if e.Done > 0 {
		return nil
	}
	return e.Err
}

func join(names []microvm.Name) string {
	s := ""
	for i, n := range names {
		if i > 0 {
			s += ", "
		}
		s += string(n)
	}
	return s
}

// Run does what the options say. Errors: *host.Failure, those of evaluation, a
// *PartialError.
func (c *Command) Run(ctx context.Context, o Options) error {
	switch o.Action {
	case ActionCreate:
		return c.create(ctx, o)
	case ActionUpdate:
		return c.update(ctx, o)
	case ActionRun:
		return c.foreground(ctx, o)
	case ActionSSH:
		return c.ssh(ctx, o)
	case ActionList:
		return c.list(ctx)
	}
	return c.Report.Text(Help)
}

// deployment names one run for one VM.
func deployment(eval *flake.Evaluation) hostapi.Deployment {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails, as documented
	now := time.Now().UTC()
	who := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil && who == "" {
		who = u.Username
	}
	if machine, err := os.Hostname(); err == nil {
		who += "@" + machine
	}
	return hostapi.Deployment{
		ID: now.Format("20060102T150405") + "-" + hex.EncodeToString(b[:]), By: who, Started: now,
		Flake: eval.URL, Revision: eval.Revision, Action: hostapi.ActionBoot,
	}
}
