package setup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// manifestPath is where a host remembers what setup did.
const manifestPath = libDir + "/setup.json"

const manifestVersion = 1

// manifest is what setup made on a machine. It is written before anything else,
// with all that is about to be made, so that a setup that was cut off can be
// completed or removed.
type manifest struct {
	Version int `json:"version"`
	// Unfinished: a setup has begun and not come to its end.
	Unfinished bool `json:"unfinished,omitempty"`
	// Files by path. What was there before setup and is right is not in here.
	Files  map[string]madeFile `json:"files,omitempty"`
	Links  map[string]string   `json:"links,omitempty"` // path → target
	Dirs   []string            `json:"dirs,omitempty"`  // parents first
	Owners map[string]owned    `json:"owners,omitempty"`
	Users  []string            `json:"users,omitempty"`
	Groups []string            `json:"groups,omitempty"`
}

// madeFile is a file of setup's. Was is set while the file is replaced: both
// contents are setup's then.
type madeFile struct {
	SHA256 string `json:"sha256"`
	Was    string `json:"was,omitempty"`
}

func (f madeFile) has(sum string) bool { return sum == f.SHA256 || sum == f.Was && f.Was != "" }

// owned is how a directory was before setup took it over.
type owned struct {
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
	Mode fs.FileMode `json:"mode"` // permission bits
}

func newManifest() *manifest {
	return &manifest{Version: manifestVersion, Files: map[string]madeFile{}, Links: map[string]string{}, Owners: map[string]owned{}}
}

// readManifest returns nil where setup has not been here.
func (s *Setup) readManifest() (*manifest, error) {
	b, err := os.ReadFile(s.path(manifestPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what setup did: %w", err)
	}
	m := newManifest()
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("reading %s: %w", manifestPath, err)
	}
	if m.Version != manifestVersion {
		return nil, refuse(fmt.Sprintf("%s is of version %d, which this ferry does not know", manifestPath, m.Version), "use the newer ferry that wrote it")
	}
	return m, nil
}

func (s *Setup) writeManifest(m *manifest) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.path(libDir), 0o700); err != nil {
		return fmt.Errorf("making ferry's directory: %w", err)
	}
	return s.write(manifestPath, append(b, '\n'), 0o600)
}

// write replaces a file in one rename and has it on disk when it returns. Its
// directory is root's alone.
func (s *Setup) write(path string, content []byte, mode fs.FileMode) error {
	full := s.path(path)
	err := renameio.WriteFile(full, content, mode, renameio.WithTempDir(filepath.Dir(full)), renameio.WithStaticPermissions(mode))
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

func addOnce(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}
