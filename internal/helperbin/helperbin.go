package helperbin

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"ferry/internal/trouble"
)

// Program is a program that can run on a host.
type Program struct {
	SHA256 string // lower-case hexadecimal
	Size   int64  // bytes

	packed []byte // gzip; nil: it is the file at path
	path   string
}

// Find yields the program for a platform such as linux/arm64.
type Find func(platform string) (Program, error)

// NoHelperError: there is no helper for a platform.
type NoHelperError struct{ platform string }

func (e *NoHelperError) Error() string {
	return "this ferry has no helper for " + e.platform
}

// Section is the section of docs/troubleshooting.md about it.
func (*NoHelperError) Section() trouble.Section { return trouble.OtherPlatform }

// Hint is what to do next.
func (e *NoHelperError) Hint() string {
	system, processor, _ := strings.Cut(e.platform, "/")
	return "`make build` makes a ferry that has those for linux/amd64 and linux/arm64; or put one beside ferry: " +
		"CGO_ENABLED=0 GOOS=" + system + " GOARCH=" + processor + " go build -o ferry-helper ./cmd/ferry-helper"
}

// helpers is empty but in builds of internal/release.
//
//go:embed helpers
var helpers embed.FS

// For is the helper for a platform: one that this ferry contains, else the file
// ferry-helper beside it.
func For(platform string) (Program, error) {
	p, err := contained(helpers, platform)
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	own, err := os.Executable()
	if err != nil {
		return Program{}, fmt.Errorf("finding ferry's own file: %w", err)
	}
	return beside(own, platform)
}

// OrFerry is this ferry itself where it can do on a host all that it does here,
// else For.
func OrFerry(platform string) (Program, error) {
	_, err := contained(helpers, platform)
	own, oerr := os.Executable()
	if err != nil || oerr != nil || check(own, platform) != nil {
		return For(platform)
	}
	return FromFile(own)
}

// contained fails with fs.ErrNotExist where all has no helper for the platform.
func contained(all fs.FS, platform string) (Program, error) {
	name := "helpers/" + strings.ReplaceAll(platform, "/", "-")
	packed, err := fs.ReadFile(all, name+".gz")
	if err != nil {
		return Program{}, err
	}
	sum, err := fs.ReadFile(all, name+".sum")
	if err != nil {
		return Program{}, fmt.Errorf("reading the helper for %s: %w", platform, err)
	}
	p := Program{packed: packed}
	if _, err := fmt.Sscanf(string(sum), "%64s %d", &p.SHA256, &p.Size); err != nil {
		return Program{}, fmt.Errorf("reading the sum of the helper for %s: %w", platform, err)
	}
	return p, nil
}

// beside is for development: `go build` puts ferry-helper there, too.
func beside(ferry, platform string) (Program, error) {
	path := filepath.Join(filepath.Dir(ferry), "ferry-helper")
	err := check(path, platform)
	var other *platformError
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.As(err, &other):
		return Program{}, &NoHelperError{platform}
	case err != nil:
		return Program{}, err
	}
	return FromFile(path)
}

// Here is the helper for this machine.
func Here() ([]byte, error) {
	p, err := For(runtime.GOOS + "/" + runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	r, err := p.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpacking the helper: %w", err)
	}
	return b, nil
}

// FromFile is a program on this machine.
func FromFile(path string) (Program, error) {
	f, err := os.Open(path)
	if err != nil {
		return Program{}, fmt.Errorf("reading the program for the host: %w", err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return Program{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return Program{path: path, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: n}, nil
}

// Open reads the program.
func (p Program) Open() (io.ReadCloser, error) {
	if p.packed != nil {
		z, err := gzip.NewReader(bytes.NewReader(p.packed))
		if err != nil {
			return nil, fmt.Errorf("unpacking the helper: %w", err)
		}
		return z, nil
	}
	f, err := os.Open(p.path)
	if err != nil {
		return nil, fmt.Errorf("reading the program for the host: %w", err)
	}
	return f, nil
}

// Gzip reads the program compressed. A failure to read it breaks the stream, so
// that it cannot arrive as a whole.
func (p Program) Gzip() (io.ReadCloser, error) {
	if p.packed != nil {
		return io.NopCloser(bytes.NewReader(p.packed)), nil
	}
	f, err := p.Open()
	if err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(pw, gzip.BestSpeed) // the level is valid
		_, err := io.Copy(z, f)
		if err == nil {
			err = z.Close()
		}
		_ = f.Close()
		_ = pw.CloseWithError(err)
	}()
	return pr, nil
}
