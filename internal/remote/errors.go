package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ferry/internal/microvm"
	"ferry/internal/shell"
	"ferry/internal/trouble"
)

// ExitError is a command that ran and failed.
type ExitError struct {
	Host        string // the address, or "local"
	CommandLine string // quoted, may be shortened
	Code        int    // 127: no such program; 128+N: ended by signal N (over ssh: 255)
	Stderr      string // the end of its messages
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s: `%s` failed with exit code %d", e.Host, e.CommandLine, e.Code)
	if e.Stderr != "" {
		s += ":\n" + e.Stderr
	}
	return s
}

// ConnectKind says what kept ssh from working.
type ConnectKind int

// The kinds that a caller or a hint tells apart.
const (
	Other          ConnectKind = iota
	Unreachable                // no route, refused, timed out, name unknown
	UnknownHostKey             // not in known_hosts, and nobody there to accept it
	ChangedHostKey             // differs from known_hosts, or is revoked
	AuthFailed                 // the machine does not let this user in
	Dropped                    // closed during the handshake or later
	BadConfig                  // ssh refuses its configuration or arguments
)

// ConnectError is a failure of ssh itself.
type ConnectError struct {
	Host   string // the address as the operator would write it
	Kind   ConnectKind
	Stderr string // the end of ssh's own messages
	target string // words for `ssh …`, as a hint shows them
	cause  error  // ssh could not be started at all
}

func (e *ConnectError) Unwrap() error { return e.cause }

func (e *ConnectError) Error() string {
	what := map[ConnectKind]string{
		Other:          "ssh failed",
		Unreachable:    "cannot be reached",
		UnknownHostKey: "its host key is not known yet",
		ChangedHostKey: "its host key is not the known one",
		AuthFailed:     "login refused",
		Dropped:        "the connection was closed",
		BadConfig:      "ssh refuses its configuration",
	}[e.Kind]
	if e.sessionRefused() {
		what = "sshd there refuses a further session on the connection"
	}
	s := "ssh to " + e.Host + ": " + what
	if why := e.reason(); why != "" {
		s += " (" + why + ")"
	}
	return s
}

// reason is the one line of ssh's messages that says most.
func (e *ConnectError) reason() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	lines := strings.Split(e.Stderr, "\n")
	for _, line := range lines {
		if kind, ok := kindOf(line); ok && kind == e.Kind {
			return strings.Trim(line, "@ \r")
		}
	}
	return strings.Trim(lines[len(lines)-1], "@ \r")
}

// NameUnknown reports whether the address has a name that nobody can resolve.
func (e *ConnectError) NameUnknown() bool {
	return e.Kind == Unreachable && strings.Contains(e.Stderr, "Could not resolve hostname")
}

// sessionRefused reports whether sshd had enough sessions on a connection that is
// well otherwise (MaxSessions). The connection that ssh then tries is our own
// refusal, and its words mislead.
func (e *ConnectError) sessionRefused() bool {
	return strings.Contains(e.Stderr, "Session open refused by peer")
}

// Section is the section of docs/troubleshooting.md about it.
func (e *ConnectError) Section() trouble.Section {
	if e.sessionRefused() {
		return trouble.SessionRefused
	}
	switch e.Kind {
	case Unreachable, Dropped:
		return trouble.Unreachable
	case UnknownHostKey:
		return trouble.UnknownHostKey
	case ChangedHostKey:
		return trouble.ChangedHostKey
	case AuthFailed:
		return trouble.LoginRefused
	}
	return ""
}

// Hint is what the operator can do next.
func (e *ConnectError) Hint() string {
	if e.sessionRefused() {
		return "raise MaxSessions in the sshd_config there (its default is 10) and reload sshd"
	}
	switch e.Kind {
	case Unreachable:
		return "check that the machine is up and the address right: `" + e.target + "`"
	case UnknownHostKey:
		return "connect once with `" + e.target + "`, compare the fingerprint with the machine's own, and accept it"
	case ChangedHostKey:
		return "find out why before going on: a reinstalled machine has new keys, and so has somebody in between. ssh's own message (`" + e.target + "`) names the line of known_hosts"
	case AuthFailed:
		return "try `" + e.target + "`: check the user name, and that your key is loaded (`ssh-add -l`) and in the machine's authorized_keys"
	case Dropped:
		return "run the same command again; if it keeps happening, the machine's sshd log says why"
	case BadConfig:
		return "correct your ssh_config or NIX_SSHOPTS; `" + e.target + "` shows the same error"
	}
	return "try `" + e.target + "`"
}

// NewConnectError says what is wrong by what ssh has said.
func NewConnectError(a microvm.Address, messages string) *ConnectError {
	return &ConnectError{
		Host:   a.String(),
		Kind:   classify(messages),
		Stderr: messages,
		target: loginWords(a),
	}
}

// loginWords is how a person logs in.
func loginWords(a microvm.Address) string {
	words := []string{"ssh"}
	if a.Port != 0 {
		words = append(words, "-p", fmt.Sprint(a.Port))
	}
	return shell.Quote(append(words, a.Destination())...)
}

// interruptedError is the end of a context, in words for people.
type interruptedError struct {
	words  string
	causes []error
}

func (e *interruptedError) Error() string   { return e.words }
func (e *interruptedError) Unwrap() []error { return e.causes }

// Interrupted says that ctx has ended before what was under way had; what names
// that, or is empty. For errors.Is it is what ctx says, and its cause.
func Interrupted(ctx context.Context, what string) error {
	cause := context.Cause(ctx)
	alone, said := cause.Error(), "was ended: "+cause.Error()
	switch {
	case errors.Is(cause, context.Canceled): // a signal such as Ctrl-C is one, too
		alone, said = "interrupted", "was interrupted"
	case errors.Is(cause, context.DeadlineExceeded):
		alone, said = "it took too long", "took too long"
	}
	e := &interruptedError{words: alone, causes: []error{ctx.Err(), cause}}
	if what != "" {
		e.words = what + " " + said
	}
	return e
}

// clues are pieces of OpenSSH's messages, all of them in its source since 7.x.
// The order matters: a refused jump host also says that the connection closed.
var clues = []struct {
	kind   ConnectKind
	pieces []string
}{
	{ChangedHostKey, []string{"HOST IDENTIFICATION HAS CHANGED", "REVOKED HOST KEY", "is marked as revoked", "has changed and you have requested strict checking", "POSSIBLE DNS SPOOFING"}},
	{UnknownHostKey, []string{"host key is known for", "Host key verification failed"}},
	{AuthFailed, []string{"Permission denied (", "Too many authentication failures", "No more authentication methods", "Authentication failed"}},
	{BadConfig, []string{"Bad configuration option", "bad configuration options", "Bad owner or permissions on", "missing argument", "unknown option --", "illegal option --", "Bad number", "unsupported option", "Can't open user config file", "hostname contains invalid characters", "too long for Unix domain socket"}},
	{Dropped, []string{"Control socket connect", "mux_client"}},
	{Unreachable, []string{"Could not resolve hostname", "Connection refused", "timed out", "No route to host", "Network is unreachable", "Host is down", "stdio forwarding failed"}},
	{Dropped, []string{"kex_exchange_identification", "ssh_exchange_identification", "banner exchange", "Connection closed", "Connection reset", "Broken pipe", "closed by remote host", "Timeout, server", "ssh_dispatch_run_fatal"}},
}

func classify(messages string) ConnectKind {
	for _, c := range clues {
		for _, p := range c.pieces {
			if strings.Contains(messages, p) {
				return c.kind
			}
		}
	}
	return Other
}

func kindOf(line string) (ConnectKind, bool) {
	k := classify(line)
	return k, k != Other
}

// SudoError says why commands cannot run as root.
type SudoError struct {
	Host   string
	Why    string // one line
	Next   string // the next step
	Stderr string // the end of sudo's own messages
}

func (e *SudoError) Error() string {
	s := e.Host + ": no root: " + e.Why
	if e.Stderr != "" {
		s += " (" + strings.ReplaceAll(e.Stderr, "\n", "; ") + ")"
	}
	return s
}

// Section is the section of docs/troubleshooting.md about it.
func (*SudoError) Section() trouble.Section { return trouble.Sudo }

// Hint is what the operator can do next.
func (e *SudoError) Hint() string { return e.Next }
