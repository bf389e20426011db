// Package remote reaches machines: this one, or another over the user's own
// OpenSSH. It owns the ssh program and its options, the connection that the
// sessions of a run share, sudo and its password, and the one place that quotes
// words for a shell. It must not know ferry's helper, Nix's command line, the
// layout of MicroVMs on a host, or the steps of a deployment.
package remote

import (
	"context"
	"errors"
	"io"
	"time"

	"ferry/internal/microvm"
)

// Options say how a machine is to be reached.
type Options struct {
	Address microvm.Address
	// Sudo lets the commands marked AsRoot go through sudo where the login is
	// not root already. Without it they run as the login.
	Sudo bool
	// Dir is a private directory with a short path, from NewSocketDir. When it
	// is empty, the connection makes one of its own.
	Dir string
	// AskPassword asks the person at the terminal; nil means that there is no
	// terminal. It is called once per Conn at most, with a prompt that names
	// the machine.
	AskPassword func(prompt string) (string, error)
	// Fresh makes a connection of its own, also where the user multiplexes: it
	// shows that the machine still lets one log in.
	Fresh bool
	// Batch asks nobody: a login that needs a password, or an answer about a key
	// that isn't known, fails.
	Batch bool
	// LoginLimit bounds the login, with all that a person may be asked for; 0:
	// longer than sshd itself gives anybody.
	LoginLimit time.Duration
	// AnswerLimit bounds how long a command of ferry's own may take to begin,
	// with all that a login shell does before; 0: a minute.
	AnswerLimit time.Duration
	// Stderr receives the messages of ssh itself, which errors keep as well. It
	// may be nil.
	Stderr io.Writer
}

// A Command is a program and its arguments. Args are quoted here where a shell
// is in between, so callers never quote. Args[0] is a program, not a shell's
// builtin.
type Command struct {
	Args           []string
	AsRoot         bool
	Stdin          io.Reader // nil: end of file at once
	Stdout, Stderr io.Writer // nil: discarded (Stderr's end is kept for errors)
	// Shown stands for Args in errors where those are no good to read, as with
	// a long script.
	Shown string
}

// Conn is a machine that commands can run on. It is safe for concurrent use;
// over ssh at most eight commands run at once, and further ones wait.
type Conn interface {
	// Run runs c and waits. The error is an *ExitError when the command failed,
	// a *ConnectError when ssh did, a *SudoError when root could not be had.
	// When ctx ends, the local process is asked to stop, and killed after a
	// while; over ssh the remote command then finds its input at the end and
	// its output closed.
	Run(ctx context.Context, c Command) error
	// Start starts c with its input and output as pipes; c.Stdin and c.Stdout
	// must be nil. The process counts as one of the eight until it ends.
	Start(ctx context.Context, c Command) (*Process, error)
	// Root finds out, once, whether AsRoot commands will run as root; otherwise
	// the error is a *SudoError. Run and Start call it when they have to.
	Root(ctx context.Context) error
	// NixCopy is what `nix copy --to` needs for this machine. With Sudo, call
	// Root before.
	NixCopy() NixTarget
	// SudoPassword says that root is reached with a password only, which the
	// programs that Nix starts cannot give.
	SudoPassword() bool
	Address() microvm.Address
	// Close ends the connection if it is ours, never the user's own.
	Close() error
}

// NixTarget is a machine as Nix addresses it.
type NixTarget struct {
	Store string   // store URL; empty: the local store
	Env   []string // KEY=VALUE, to be added to the environment of nix
}

// Dial connects to a machine. Over ssh it logs in, asking on the terminal what
// ssh has to ask, unless the user's own multiplexed connection is there; for
// the local machine it does nothing. The error is a *ConnectError when ssh
// fails.
func Dial(ctx context.Context, o Options) (Conn, error) {
	if o.Address.Local {
		return newMachine(o, local{}), nil
	}
	if o.Address.Host == "" {
		return nil, errors.New("connecting: the address is empty")
	}
	s, err := dialSSH(ctx, o)
	if err != nil {
		return nil, err
	}
	return newMachine(o, s), nil
}
