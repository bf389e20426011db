package update

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"ferry/internal/fetch"
	"ferry/internal/microvm"
)

const maxFile = 1 << 20 // bytes of a file, at a URL too

// File is a file or URL that holds one store path as plain text, or an object of
// store paths by the names of VMs as JSON. It is read once.
type File struct {
	place string // as the user wrote it
	read  func(ctx context.Context) ([]byte, error)

	mu    sync.Mutex
	known *contents
	only  onlyVM
}

// contents is what a file says: either one path, or paths by name.
type contents struct {
	one   microvm.StorePath
	paths map[microvm.Name]microvm.StorePath
}

// NewFile returns the source at a URL (http or https) or in a file; client is
// used for URLs and may be nil.
func NewFile(place string, client *fetch.Client) (*File, error) {
	if scheme, _, ok := strings.Cut(place, "://"); ok && scheme != "file" {
		u, err := fetch.CheckURL(place)
		if err != nil {
			return nil, err
		}
		if err := client.Permits(u); err != nil {
			return nil, err
		}
		c := fetch.Client{}
		if client != nil {
			c = *client
		}
		c.MaxBytes = maxFile
		return &File{place: u.String(), read: func(ctx context.Context) ([]byte, error) {
			answer, err := c.Get(ctx, u, "application/json, text/plain;q=0.9, */*;q=0.5")
			if err != nil {
				return nil, err
			}
			return answer.Body, nil
		}}, nil
	}
	name := strings.TrimPrefix(place, "file://")
	if name == "" || strings.ContainsRune(name, 0) || name != place && !filepath.IsAbs(name) {
		return nil, fmt.Errorf("%.120q is neither a file nor a URL", place)
	}
	return &File{place: name, read: func(context.Context) ([]byte, error) { return readFile(name) }}, nil
}

// readFile reads a regular file; anything else could block, or never end.
func readFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return b, err
}

// String is the place.
func (s *File) String() string { return s.place }

// Latest is the path for a VM. One path without a name is for the first VM that
// asks, and an error for every other: two VMs never run the same configuration.
func (s *File) Latest(ctx context.Context, vm microvm.Name) (Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		body, err := s.read(ctx)
		if err != nil {
			return Found{}, fmt.Errorf("reading %s: %w", s.place, err)
		}
		if s.known, err = parseContents(body); err != nil {
			return Found{}, fmt.Errorf("reading %s: %w", s.place, err)
		}
	}
	p, ok := s.known.paths[vm]
	if s.known.one != "" {
		if other := s.only.take(vm); other != vm {
			return Found{}, fmt.Errorf(`%s holds one store path without a name, which can't be for both %s and %s (expected {"%s": "/nix/store/…"})`, s.place, other, vm, vm)
		}
		p, ok = s.known.one, true
	}
	if !ok {
		return Found{}, fmt.Errorf("%w: %s does not name %s", ErrNoBuild, s.place, vm)
	}
	return Found{Runner: p, Build: s.place}, nil
}

func parseContents(body []byte) (*contents, error) {
	text := bytes.TrimSpace(body)
	switch {
	case len(text) == 0:
		return nil, errors.New("it is empty")
	case text[0] == '{':
		paths, err := parsePaths(text)
		return &contents{paths: paths}, err
	}
	p, err := runnerPath(string(text))
	if err != nil {
		return nil, fmt.Errorf(`it holds neither a store path nor {"VM": "store path"}: %w`, err)
	}
	return &contents{one: p}, nil
}

// parsePaths reads {"VM": "store path", …}, strictly: a name twice is an error,
// not the last one's win.
func parsePaths(text []byte) (map[microvm.Name]microvm.StorePath, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	paths := map[microvm.Name]microvm.StorePath{}
	if _, err := d.Token(); err != nil { // the brace
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
		word, _ := key.(string)
		name, err := microvm.ParseName(word)
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
		var path *string
		if json.Unmarshal(value, &path) != nil || path == nil {
			return nil, fmt.Errorf("for %s it has %.60s instead of a store path", name, value)
		}
		if _, twice := paths[name]; twice {
			return nil, fmt.Errorf("it names %s twice", name)
		}
		if paths[name], err = runnerPath(*path); err != nil {
			return nil, fmt.Errorf("for %s: %w", name, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return paths, nil
}

func runnerPath(s string) (microvm.StorePath, error) {
	p, err := microvm.ParseStorePath(s)
	if err == nil && p.IsDerivation() {
		err = fmt.Errorf("%s is a derivation, not what was built from it", p)
	}
	return p, err
}
