package remote

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/shell"
)

// maxSessions is how many commands run on one connection at once. sshd allows
// ten, and refuses one beyond that; `nix copy` needs one as well, and one that has
// ended here may still be open there for a moment.
const maxSessions = 6

// A wire is what differs between the local machine and one behind ssh.
type wire interface {
	// prepare makes the local process that runs args there.
	prepare(args []string) (*child, error)
	// lost turns the end of a child into an error if it was the wire that
	// failed and not the command.
	lost(ctx context.Context, c *child, code int) error
	// nix gives the store URL's authority ("" for this machine), and the
	// environment.
	nix() (authority string, env []string)
	close() error
}

// machine is a Conn over some wire; sudo and the limit of sessions are the same
// for all.
type machine struct {
	o     Options
	w     wire
	slots chan struct{}

	mu   sync.Mutex // held while root is found out
	root rootWay

	platformMu sync.Mutex
	platform   string // GOOS/GOARCH as somebody has found it, or empty
}

func newMachine(o Options, w wire) *machine {
	return &machine{o: o, w: w, slots: make(chan struct{}, maxSessions)}
}

func (m *machine) Address() microvm.Address { return m.o.Address }

// Platform is what NotePlatform was told, as in linux/arm64, or empty.
func (m *machine) Platform() string {
	m.platformMu.Lock()
	defer m.platformMu.Unlock()
	return m.platform
}

// NotePlatform keeps what was found out about the machine for later sessions.
func (m *machine) NotePlatform(platform string) {
	m.platformMu.Lock()
	defer m.platformMu.Unlock()
	m.platform = platform
}

// AnswerLimit is how long a command of ferry's own may take to begin.
func (m *machine) AnswerLimit() time.Duration { return cmp.Or(m.o.AnswerLimit, AnswerLimit) }

func (m *machine) Close() error {
	m.mu.Lock()
	clear(m.root.password)
	m.root = rootWay{}
	m.mu.Unlock()
	return m.w.close()
}

func (m *machine) Run(ctx context.Context, c Command) error {
	r, err := m.resolve(ctx, c)
	if err != nil {
		return err
	}
	release, err := m.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return m.run(ctx, r)
}

func (m *machine) Start(ctx context.Context, c Command) (*Process, error) {
	if c.Stdin != nil || c.Stdout != nil {
		return nil, fmt.Errorf("starting %s: Start makes the pipes itself", shown(c))
	}
	r, err := m.resolve(ctx, c)
	if err != nil {
		return nil, err
	}
	release, err := m.acquire(ctx)
	if err != nil {
		return nil, err
	}
	p, err := m.start(ctx, r, release)
	if err != nil {
		release()
		return nil, err
	}
	return p, nil
}

// acquire waits for one of the sessions.
func (m *machine) acquire(ctx context.Context) (release func(), err error) {
	select {
	case m.slots <- struct{}{}:
		return func() { <-m.slots }, nil
	case <-ctx.Done():
		return nil, Interrupted(ctx, "waiting for a free session to "+m.o.Address.String())
	}
}

// resolved is a command whose way to root is known: what goes over the wire.
type resolved struct {
	Command
	words    []string
	preamble []byte // goes into its input before Stdin
}

func (m *machine) resolve(ctx context.Context, c Command) (resolved, error) {
	r := resolved{Command: c, words: c.Args}
	if len(c.Args) == 0 || c.Args[0] == "" {
		return r, fmt.Errorf("running a command on %s: it is empty", m.o.Address)
	}
	if !c.AsRoot || !m.o.Sudo {
		return r, nil
	}
	way, err := m.findRoot(ctx)
	if err != nil {
		return r, err
	}
	r.words, r.preamble = way.wrap(c.Args)
	return r, nil
}

// input is everything that the command reads.
func (r resolved) input() io.Reader {
	if r.preamble == nil {
		return r.Stdin
	}
	return withPreamble(r.preamble, r.Stdin)
}

// shown is the command as an error names it.
func shown(c Command) string {
	const most = 300
	s := c.Shown
	if s == "" {
		s = shell.Quote(c.Args...)
	}
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
