package flake

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxHealthTimeout is the longest that anybody may wait for a VM to be well.
const MaxHealthTimeout = 24 * time.Hour

const maxCommand = 64 << 10 // bytes

// CheckHostPort refuses what is no address of a TCP check. The error says what s
// is, so that the name of an option or key stands well before it.
func CheckHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	odd := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	if err != nil || perr != nil || host == "" || n < 1 || n > 65535 || strings.ContainsFunc(s, odd) {
		return fmt.Errorf("is %.80q; expected host:port", s)
	}
	return nil
}

// CheckWebURL is CheckHostPort for the URL of an HTTP check.
func CheckWebURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("is %.80q; expected an http:// or https:// URL", s)
	}
	return nil
}

// CheckCommand is CheckHostPort for a shell command.
func CheckCommand(s string) error {
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
