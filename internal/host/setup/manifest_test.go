package setup

import (
	"os"
	"path/filepath"
	"testing"
)

// A manifest that a crash has cut, or another version wrote, is refused or read;
// it never makes setup remove what it does not name.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"files":{"/etc/x":{"sha256":""}},"links":null,"owners":{"/":{}}}`))
	f.Add([]byte(`{"version":1`))
	f.Add([]byte(`null`))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		s := &Setup{root: root}
		path := s.path(manifestPath)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := s.readManifest()
		if err == nil && (m == nil || m.Version != manifestVersion) {
			t.Errorf("%s became %+v", content, m)
		}
	})
}
