package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// rootWay is how AsRoot commands become root, once that is known.
type rootWay struct {
	known    bool
	err      error // known, and there is no way
	prefix   []string
	password []byte
}

// afterPassword separates the password from the command's own input. sudo may
// leave the password unread (a rule with NOPASSWD for one command); then the
// shell below drops it instead of the command reading it.
const afterPassword = "-- ferry: the input begins --"

const skipPassword = `while IFS= read -r line; do if [ "$line" = "$0" ]; then exec "$@"; fi; done; exit 1`

// wrap gives the words that run args as root, and what their input begins with.
func (w rootWay) wrap(args []string) (words []string, preamble []byte) {
	if w.password == nil {
		return append(w.prefix[:len(w.prefix):len(w.prefix)], args...), nil
	}
	words = append(words, w.prefix...)
	words = append(words, "sh", "-c", skipPassword, afterPassword)
	preamble = append(bytes.Clone(w.password), "\n"+afterPassword+"\n"...)
	return append(words, args...), preamble
}

var (
	sudoQuiet    = []string{"sudo", "-n", "--"}
	sudoPassword = []string{"sudo", "-S", "-k", "-p", "", "--"}
)

// askRoot finds out in one session what the login may do.
const askRoot = `LC_ALL=C; export LC_ALL
if [ "$(id -u)" = 0 ]; then echo root
elif ! command -v sudo >/dev/null; then echo none
elif why=$(sudo -n -- sh -c : 2>&1); then echo quiet
else echo "password $why"; fi`

func (m *machine) Root(ctx context.Context) error {
	_, err := m.findRoot(ctx)
	return err
}

func (m *machine) SudoPassword() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root.password != nil
}

// findRoot remembers its answer, a refusal too: a person is asked once.
func (m *machine) findRoot(ctx context.Context) (rootWay, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.root.known {
		return m.root, m.root.err
	}
	way, err := m.tryRoot(ctx)
	var refused *SudoError
	if err == nil || errors.As(err, &refused) {
		way.known, way.err = true, err
		m.root = way
	}
	return way, err
}

func (m *machine) tryRoot(ctx context.Context) (rootWay, error) {
	out, err := m.ask(ctx, Command{Args: []string{"sh", "-c", askRoot}, Shown: "id -u; sudo -n …"})
	if err != nil {
		return rootWay{}, fmt.Errorf("finding a way to root: %w", err)
	}
	// Only the last part is ours: a login shell may talk first.
	answer, why := lastAnswer(out)
	switch {
	case answer == "root":
		return rootWay{}, nil
	case !m.o.Sudo:
		return rootWay{}, m.noRoot("the login is not root's", "log in as root, or let ferry use sudo (--host-sudo, --target-sudo)", "")
	case answer == "quiet":
		return rootWay{prefix: sudoQuiet}, nil
	case answer == "none":
		return rootWay{}, m.noRoot("sudo is not installed", "log in as root, or install sudo there", "")
	case answer != "password":
		return rootWay{}, m.noRoot("its login shell does not run `sh -c`", "look at what `ssh HOST sh -c id` prints", out)
	case forbidden(why):
		return rootWay{}, m.noRoot("sudo does not let this user in", "add the user to sudo's rules there, or log in as root", why)
	}
	return m.tryPassword(ctx, why)
}

// ask runs a short command of ours and returns the end of its output. Neither how
// long it takes nor how much is printed is up to the other side.
func (m *machine) ask(ctx context.Context, c Command) (string, error) {
	own, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	late := time.AfterFunc(m.AnswerLimit(), func() { stop(SlowShell(m.o.Address, m.AnswerLimit())) })
	defer late.Stop()
	var out tail
	c.Stdout = ShellOutput(&out, func() { stop(NoisyShell(m.o.Address)) })
	err := m.Run(own, c)
	var shell *ShellError
	if err != nil && ctx.Err() == nil && errors.As(context.Cause(own), &shell) {
		return "", shell
	}
	return out.String(), err
}

// lastAnswer takes askRoot's answer out of all that was printed.
func lastAnswer(out string) (word, rest string) {
	for _, w := range []string{"root", "none", "quiet"} {
		if out == w || strings.HasSuffix(out, "\n"+w) {
			return w, ""
		}
	}
	if i := strings.LastIndex("\n"+out, "\npassword "); i >= 0 {
		return "password", strings.TrimSpace(out[i+len("password "):])
	}
	return "", out
}

func (m *machine) tryPassword(ctx context.Context, why string) (rootWay, error) {
	if m.o.AskPassword == nil {
		return rootWay{}, m.noRoot("sudo wants a password, and there is no terminal to ask for it",
			"run ferry on a terminal, log in as root, or give the user NOPASSWD in sudo's rules", why)
	}
	password, err := m.o.AskPassword("Password for sudo on " + m.o.Address.String() + ": ")
	if err != nil {
		return rootWay{}, fmt.Errorf("asking for sudo's password: %w", err)
	}
	if strings.ContainsAny(password, "\n\r\x00") {
		return rootWay{}, m.noRoot("the password has more than one line", "run ferry again", "")
	}
	way := rootWay{prefix: sudoPassword, password: []byte(password)}
	// One attempt: the input ends after the password, so that sudo cannot take
	// anything else for a second one, which may lock the account.
	_, err = m.ask(ctx, Command{
		Args:  append(way.prefix[:len(way.prefix):len(way.prefix)], "sh", "-c", ":"),
		Stdin: bytes.NewReader(append(bytes.Clone(way.password), '\n')),
	})
	var exit *ExitError
	switch {
	case errors.As(err, &exit) && forbidden(exit.Stderr):
		return rootWay{}, m.noRoot("sudo does not let this user in", "add the user to sudo's rules there, or log in as root", exit.Stderr)
	case errors.As(err, &exit):
		return rootWay{}, m.noRoot("sudo did not accept the password", "run ferry again and give the password of the user who logs in there", exit.Stderr)
	case err != nil:
		return rootWay{}, fmt.Errorf("trying sudo's password: %w", err)
	}
	return way, nil
}

// forbidden recognises sudo's refusals, in all versions' words.
func forbidden(messages string) bool {
	for _, s := range []string{"not in the sudoers", "may not run sudo", "not allowed to execute", "is not allowed to run sudo", "no new privileges", "must be owned by uid 0", "I'm sorry"} {
		if strings.Contains(messages, s) {
			return true
		}
	}
	return false
}

func (m *machine) noRoot(why, next, stderr string) error {
	return &SudoError{Host: m.o.Address.String(), Why: why, Next: next, Stderr: stderr}
}
