// Package health owns what a VM must answer: the kinds of checks, how each is written,
// merged and asked. A new kind is a field of Checks and a row of kinds. It must not
// know who asks, nor what becomes of a VM that fails.
package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ferry/internal/ui"
)

// Checks are what a VM must answer, asked from its host.
type Checks struct {
	TCP  []string `json:"tcp,omitempty"`  // host:port that must take a connection
	HTTP []string `json:"http,omitempty"` // URLs that must answer with a status below 400
}

// Kind is a kind of check: everything about it but its field in Checks.
type Kind struct {
	Name  string // its key in the flake; the option is --check-NAME
	Value string // what a value is, for help: HOST:PORT
	Help  string // what a value must do, for help
	// Valid refuses what is not a value. The error says what it is, so that the name
	// of an option or key stands well before it.
	Valid func(value string) error

	of     func(*Checks) *[]string
	show   func(value string) string // without what may be secret
	secret func(value string) bool   // it may contain something that show leaves out; nil: never
	ask    func(ctx context.Context, client *http.Client, value string) error
}

var kinds = [...]Kind{
	{
		Name: "tcp", Value: "HOST:PORT", Help: "what must take a connection from the host", Valid: validHostPort,
		of: func(c *Checks) *[]string { return &c.TCP }, show: func(s string) string { return s },
		ask: func(ctx context.Context, _ *http.Client, address string) error { return askTCP(ctx, address) },
	},
	{
		Name: "http", Value: "URL", Help: "what must answer the host with a status below 400", Valid: validWebURL,
		of: func(c *Checks) *[]string { return &c.HTTP }, show: shownURL, secret: secretURL, ask: askHTTP,
	},
}

// Kinds are all kinds of checks.
func Kinds() []Kind { return kinds[:] }

// Of is where the values of this kind are in c.
func (k Kind) Of(c *Checks) *[]string { return k.of(c) }

// Empty reports whether there is nothing to ask.
func (c Checks) Empty() bool {
	return !slices.ContainsFunc(Kinds(), func(k Kind) bool { return len(*k.of(&c)) > 0 })
}

// Or fills in what c leaves open: a check replaces all of its kind.
func (c Checks) Or(otherwise Checks) Checks {
	for _, k := range kinds {
		if mine := k.of(&c); len(*mine) == 0 {
			*mine = *k.of(&otherwise)
		}
	}
	return c
}

// Command is what a check command is called where only its kind is told.
const Command = "the check command"

// Open are the checks without those that may contain a secret, and the names of
// these, as messages have them. What is written down is of this kind.
func (c Checks) Open() (open Checks, withheld []string) {
	for _, k := range kinds {
		for _, value := range *k.of(&c) {
			if k.secret != nil && k.secret(value) {
				withheld = append(withheld, check{k, value}.name())
				continue
			}
			*k.of(&open) = append(*k.of(&open), value)
		}
	}
	return open, withheld
}

// Named are those of the checks that have one of these names.
func (c Checks) Named(names []string) (found Checks) {
	for _, ch := range c.list() {
		if slices.Contains(names, ch.name()) {
			*ch.kind.of(&found) = append(*ch.kind.of(&found), ch.value)
		}
	}
	return found
}

// And are the checks of both.
func (c Checks) And(other Checks) (both Checks) {
	for _, k := range kinds {
		*k.of(&both) = slices.Concat(*k.of(&c), *k.of(&other))
	}
	return both
}

// Names are what messages call the checks.
func (c Checks) Names() (names []string) {
	for _, ch := range c.list() {
		names = append(names, ch.name())
	}
	return names
}

// secretURL: user, password and query may be anything's.
func secretURL(address string) bool {
	u, err := url.Parse(address)
	return err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery
}

// secretWords are what commands that contain a secret mostly have in them.
var secretWords = regexp.MustCompile(`(?i)passw|pwd|passphrase|secret|token|api[-_]?key|credential|authorization|bearer|cookie|(^|\s)-u[\s=]|--user\b|://[^/\s]*@|\?[^\s]*=`)

// LooksSecret guesses whether a command contains a secret. It is good enough for what
// is a copy of something that everybody can read already.
func LooksSecret(command string) bool { return secretWords.MatchString(command) }

// MaxTimeout is the longest that anybody may wait for a VM to be well.
const MaxTimeout = 24 * time.Hour

const maxCommand = 64 << 10 // bytes

func validHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	odd := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	if err != nil || perr != nil || host == "" || n < 1 || n > 65535 || strings.ContainsFunc(s, odd) {
		return fmt.Errorf("is %.80q; expected host:port", s)
	}
	return nil
}

func validWebURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("is %.80q; expected an http:// or https:// URL", ui.Redact(s))
	}
	return nil
}

// ValidCommand refuses what can't be a shell command to check a guest with, as a Kind's
// Valid does.
func ValidCommand(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return errors.New("is empty; expected a shell command")
	case len(s) > maxCommand:
		return fmt.Errorf("has %d bytes; a command has at most %d", len(s), maxCommand)
	case strings.ContainsRune(s, 0) || !utf8.ValidString(s):
		return errors.New("has characters that no command can have")
	}
	return nil
}
