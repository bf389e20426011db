package remembered

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

const (
	// maxAge is how long a document is of any use: hosts and guests settle by
	// themselves what nobody comes back to, in minutes.
	maxAge = 30 * 24 * time.Hour
	// maxDocuments bounds how many are kept; the oldest go first.
	maxDocuments = 256
	// maxBytes bounds one.
	maxBytes = 1 << 20
	suffix   = ".json"
)

// id is what a document may be called. It comes from a host where somebody
// attaches, and becomes a part of a path.
var id = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// Store is a directory of documents; with an empty Dir nothing is kept.
type Store struct{ Dir string }

// DefaultDir is $XDG_STATE_HOME/ferry/deployments, below ~/.local/state without
// it, and empty where there is no home either.
func DefaultDir() string { return stateDir("deployments") }

// TargetsDir is the directory beside it for the addresses that the user has confirmed.
func TargetsDir() string { return stateDir("targets") }

func stateDir(name string) string {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // to be ignored then, says the XDG specification
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "ferry", name)
}

// Keep writes the document of a deployment, replacing an earlier one whole. Only the
// user may read it: addresses and names are nobody else's business.
func (s Store) Keep(name string, document any) error {
	if s.Dir == "" {
		return nil
	}
	path, err := s.path(name)
	if err != nil {
		return err
	}
	content, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("remembering deployment %s: %w", name, err)
	}
	if len(content) > maxBytes {
		return fmt.Errorf("remembering deployment %s: it is longer than %d bytes", name, maxBytes)
	}
	err = os.MkdirAll(s.Dir, 0o700)
	if err == nil {
		err = os.Chmod(s.Dir, 0o700) // also where somebody made it before
	}
	if err == nil {
		err = renameio.WriteFile(path, content, 0o600, renameio.WithTempDir(s.Dir), renameio.WithStaticPermissions(0o600))
	}
	if err != nil {
		return fmt.Errorf("remembering deployment %s: %w", name, err)
	}
	s.prune(time.Now())
	return nil
}

// Recall reads the document of a deployment, and reports whether there is one.
func (s Store) Recall(name string, document any) (bool, error) {
	if s.Dir == "" {
		return false, nil
	}
	path, err := s.path(name)
	if err != nil {
		return false, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if err == nil {
		err = json.Unmarshal(content, document)
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", path, err)
	}
	return true, nil
}

// Forget removes the document of a deployment, if there is one.
func (s Store) Forget(name string) error {
	if s.Dir == "" {
		return nil
	}
	path, err := s.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s Store) path(name string) (string, error) {
	if !id.MatchString(name) {
		return "", fmt.Errorf("%.80q is not the id of a deployment", name)
	}
	return filepath.Join(s.Dir, name+suffix), nil
}

// Names are the deployments that there are documents of, the newest first.
func (s Store) Names() []string {
	var names []string
	for _, d := range s.documents() {
		names = append(names, strings.TrimSuffix(d.Name(), suffix))
	}
	return names
}

// documents are the files, the newest first.
func (s Store) documents() []fs.FileInfo {
	if s.Dir == "" {
		return nil
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil
	}
	var documents []fs.FileInfo
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), suffix)
		if info, err := e.Info(); err == nil && ours && id.MatchString(name) {
			documents = append(documents, info)
		}
	}
	slices.SortFunc(documents, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(b.Name(), a.Name()))
	})
	return documents
}

// prune removes what is too old or too much. What can't be removed does no harm.
func (s Store) prune(now time.Time) {
	for i, d := range s.documents() {
		if i >= maxDocuments || now.Sub(d.ModTime()) > maxAge {
			_ = os.Remove(filepath.Join(s.Dir, d.Name()))
		}
	}
}
