package remembered

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

type document struct{ Target string }

const deployment = "20261122T024710-12b4f3"

func TestDocumentIsKeptUntilForgotten(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "state", "ferry")}
	var d document
	if found, err := s.Recall(deployment, &d); found || err != nil {
		t.Fatalf("found %v, %v before anything was kept", found, err)
	}
	for _, target := range []string{"root@old", "root@web"} {
		if err := s.Keep(deployment, document{target}); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := s.Recall(deployment, &d); !found || err != nil || d.Target != "root@web" {
		t.Errorf("recalled %v, %v, %v", d, found, err)
	}
	for range 2 {
		if err := s.Forget(deployment); err != nil {
			t.Error(err)
		}
	}
	if found, err := s.Recall(deployment, &d); found || err != nil {
		t.Errorf("found %v, %v after it was forgotten", found, err)
	}
}

func TestOnlyTheUserCanRead(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(deployment, document{}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{s.Dir: 0o700, filepath.Join(s.Dir, deployment+".json"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; wanted %v", path, info.Mode(), err, want)
		}
	}
}

// The id comes from a host when somebody attaches.
func TestIDsAreNoPaths(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "inside")}
	for _, bad := range []string{"", "../up", "a/b", "..", ".", "a.b", "-a", "a\x00b", "a b"} {
		if _, err := s.Recall(bad, &document{}); err == nil {
			t.Errorf("%q was looked up", bad)
		}
		if err := s.Keep(bad, document{}); err == nil {
			t.Errorf("%q was kept", bad)
		}
		if err := s.Forget(bad); err == nil {
			t.Errorf("%q was forgotten", bad)
		}
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	age := func(name string, age time.Duration) {
		t.Helper()
		path := filepath.Join(s.Dir, name)
		at := time.Now().Add(-age)
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	age("stale.json", maxAge+time.Hour)
	age("not ours", maxAge+time.Hour)
	for i := range maxDocuments + 3 {
		age(fmt.Sprintf("d%d.json", i), time.Duration(i+1)*time.Minute)
	}
	if err := s.Keep(deployment, document{}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil || len(entries) != maxDocuments+1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	for name, want := range map[string]bool{
		"stale.json": false, "not ours": true, deployment + ".json": true, "d0.json": true,
		fmt.Sprintf("d%d.json", maxDocuments-2): true, fmt.Sprintf("d%d.json", maxDocuments-1): false,
	} {
		if _, err := os.Stat(filepath.Join(s.Dir, name)); (err == nil) != want {
			t.Errorf("%s is there: %v", name, err == nil)
		}
	}
}

func TestWithoutDirectoryNothingIsKept(t *testing.T) {
	var s Store
	if err := s.Keep(deployment, document{}); err != nil {
		t.Error(err)
	}
	if found, err := s.Recall(deployment, &document{}); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if err := s.Forget(deployment); err != nil {
		t.Error(err)
	}
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	t.Setenv("XDG_STATE_HOME", "/s")
	if got := DefaultDir(); got != "/s/ferry/deployments" {
		t.Errorf("got %s", got)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	if got := DefaultDir(); got != "/home/u/.local/state/ferry/deployments" {
		t.Errorf("got %s", got)
	}
}

// Whatever is in a file, reading it ends without harm.
func FuzzRecall(f *testing.F) {
	f.Add([]byte(`{"Target":"root@web"}`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := Store{Dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(s.Dir, deployment+".json"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := s.Recall(deployment, &document{}); found && err != nil {
			t.Errorf("found, and %v", err)
		}
	})
}
