package nix

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"ferry/internal/microvm"
)

const (
	// maxRegistered bounds the paths of one registration, and the references of each.
	maxRegistered = 200_000
	// maxRegistrationLine is longer than a store path or a hash, in bytes.
	maxRegistrationLine = 4 << 10
)

// narHash is a SHA-256 as `nix-store --dump-db` writes it: in base 16.
var narHash = regexp.MustCompile(`^(sha256:)?[0-9a-z]{52,64}$`)

// CheckRegistration reads what DumpRegistration wrote on a machine that may be
// anybody's, and returns it if it registers store paths only, the closure of the
// system among them, and refers to nothing beyond.
func CheckRegistration(r io.Reader, system microvm.StorePath) ([]byte, error) {
	c := registration{in: bufio.NewScanner(r), paths: map[microvm.StorePath]bool{}, refs: map[microvm.StorePath]bool{}}
	c.in.Buffer(make([]byte, 0, maxRegistrationLine), maxRegistrationLine)
	for c.entry() {
		if len(c.paths) > maxRegistered || len(c.refs) > maxRegistered {
			return nil, fmt.Errorf("it has more than %d paths", maxRegistered)
		}
	}
	if c.err == nil {
		c.err = c.in.Err()
	}
	if c.err != nil {
		return nil, c.err
	}
	for p := range c.refs {
		if !c.paths[p] {
			return nil, fmt.Errorf("it refers to %s, which it does not register", p)
		}
	}
	if !c.paths[system] {
		return nil, fmt.Errorf("it does not register %s", system)
	}
	return c.out.Bytes(), nil
}

// registration is one that is being read.
type registration struct {
	in          *bufio.Scanner
	out         bytes.Buffer
	paths, refs map[microvm.StorePath]bool
	err         error
}

func (c *registration) line() (string, bool) {
	if c.err != nil || !c.in.Scan() {
		return "", false
	}
	c.out.Write(c.in.Bytes())
	c.out.WriteByte('\n')
	return c.in.Text(), true
}

// next is a line that must come.
func (c *registration) next() string {
	s, ok := c.line()
	if !ok && c.err == nil {
		if c.err = c.in.Err(); c.err == nil {
			c.err = io.ErrUnexpectedEOF
		}
	}
	return s
}

func (c *registration) storePath() microvm.StorePath {
	s := c.next()
	p, err := microvm.ParseStorePath(s)
	if c.err == nil {
		c.err = err
	}
	return p
}

// entry reads one path: itself, its hash, its size, its deriver or an empty line,
// and its references behind their number.
func (c *registration) entry() bool {
	first, ok := c.line()
	if !ok {
		return false
	}
	p, err := microvm.ParseStorePath(first)
	if c.err = err; err != nil {
		return false
	}
	c.paths[p] = true
	if h := c.next(); c.err == nil && !narHash.MatchString(h) {
		c.err = fmt.Errorf("%.80q is not a hash", h)
	}
	c.number("size")
	if d := c.next(); c.err == nil && d != "" {
		_, c.err = microvm.ParseStorePath(d)
	}
	n := c.number("number of references")
	if n > maxRegistered {
		c.err = errors.New("a path has too many references")
	}
	for range n {
		if ref := c.storePath(); c.err == nil {
			c.refs[ref] = true
		} else {
			break
		}
	}
	return c.err == nil
}

func (c *registration) number(what string) int64 {
	s := c.next()
	if c.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		c.err = fmt.Errorf("%.40q is not a %s", s, what)
		return 0
	}
	return n
}
