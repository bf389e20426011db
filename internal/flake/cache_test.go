package flake

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

func someFacts() facts {
	return facts{
		version:  nix.Version{Major: 2, Minor: 26, Text: "nix (Nix) 2.26.3"},
		settings: map[string]json.RawMessage{"pure-eval": json.RawMessage("true"), "system-features": json.RawMessage(`["kvm"]`)},
		metadata: nix.Metadata{
			Locked: json.RawMessage(`{"narHash":"sha256-A"}`),
			Locks:  json.RawMessage(`{"root":"root","nodes":{"root":{"inputs":{"n":"n"}},"n":{"locked":{"narHash":"sha256-B"}}}}`),
		},
	}
}

func TestKeyDependsOnEverything(t *testing.T) {
	base := someFacts()
	key := base.key([]string{"--option", "cores", "1"}, "web")
	if key == "" || key != base.key([]string{"--option", "cores", "1"}, "web") {
		t.Fatalf("the key of the same facts: %q", key)
	}
	seen := map[string]string{key: "the base"}
	for name, c := range map[string]struct {
		change  func(*facts)
		options []string
		vm      microvm.Name
	}{
		"content": {func(f *facts) { f.metadata.Locked = json.RawMessage(`{"narHash":"sha256-C"}`) }, nil, ""},
		"an input": {func(f *facts) {
			f.metadata.Locks = json.RawMessage(`{"root":"root","nodes":{"root":{"inputs":{"n":"n"}},"n":{"locked":{"narHash":"sha256-C"}}}}`)
		}, nil, ""},
		"version":    {func(f *facts) { f.version.Text = "nix (Nix) 2.26.4" }, nil, ""},
		"setting":    {func(f *facts) { f.settings["system-features"] = json.RawMessage(`[]`) }, nil, ""},
		"options":    {nil, []string{"--option", "cores", "2"}, ""},
		"no options": {nil, []string{}, ""},
		"VM":         {nil, nil, "db"},
		"no VM":      {nil, nil, "-"},
	} {
		f := someFacts()
		options, vm := []string{"--option", "cores", "1"}, microvm.Name("web")
		if c.change != nil {
			c.change(&f)
		}
		if c.options != nil {
			options = c.options
		}
		if c.vm == "-" {
			vm = ""
		} else if c.vm != "" {
			vm = c.vm
		}
		got := f.key(options, vm)
		if other, same := seen[got]; same || got == "" {
			t.Errorf("%s: key %q is that of %q", name, got, other)
		}
		seen[got] = name
	}
}

func TestNoKey(t *testing.T) {
	for name, change := range map[string]func(*facts){
		"settings unknown":     func(f *facts) { f.settings = nil },
		"impure by a setting":  func(f *facts) { f.settings["pure-eval"] = json.RawMessage("false") },
		"no narHash":           func(f *facts) { f.metadata.Locked = json.RawMessage(`{"rev":"x"}`) },
		"an input without one": func(f *facts) { f.metadata.Locks = json.RawMessage(`{"root":"r","nodes":{"r":{},"n":{"locked":{}}}}`) },
	} {
		f := someFacts()
		change(&f)
		if key := f.key(nil, "web"); key != "" {
			t.Errorf("%s: key %q", name, key)
		}
	}
	f := someFacts()
	for _, options := range [][]string{{"--impure"}, {"--option", "pure-eval", "false"}, {"--no-pure-eval"}} {
		if key := f.key(options, "web"); key != "" {
			t.Errorf("%q: key %q", options, key)
		}
	}
}

func TestCacheFile(t *testing.T) {
	c := evalCache{dir: filepath.Join(t.TempDir(), "new", "dir")}
	if got, _ := c.get("k"); got != nil {
		t.Errorf("%q from nothing", got)
	}
	c.put("k", []byte(`{"ferry":null}`))
	if got, _ := c.get("k"); string(got) != `{"ferry":null}` {
		t.Errorf("%q", got)
	}
	if info, err := os.Stat(c.path("k")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	// Nothing that may have happened to the file is an error, only a miss.
	for name, content := range map[string]string{
		"empty": "", "cut": `{"format":2,"key":"k","out`, "other format": `{"format":0,"key":"k","output":{}}`, "another's": `{"format":2,"key":"j","output":{}}`,
	} {
		if err := os.WriteFile(c.path("k"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := c.get("k"); got != nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := os.Remove(c.path("k")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(c.path("k"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.put("k", []byte(`{}`))
	if got, _ := c.get("k"); got != nil {
		t.Errorf("a directory in its place gave %q", got)
	}
	evalCache{}.put("k", []byte(`{}`))
	if got, _ := (evalCache{dir: c.dir}).get(""); got != nil {
		t.Errorf("the empty key gave %q", got)
	}
}

func TestCacheIsPruned(t *testing.T) {
	c := evalCache{dir: t.TempDir()}
	c.put("0000", []byte(`{}`))
	old := time.Now().Add(-time.Hour)
	for i := range maxCacheFiles + 20 {
		key := fmt.Sprintf("%04d", i)
		if err := os.WriteFile(c.path(key), []byte(`{"format":2,"key":"`+key+`","output":{}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		at := old.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(c.path(key), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := c.get("0003"); got == nil { // used just now
		t.Fatal("no file")
	}
	c.put("new", []byte(`{}`))
	entries, err := os.ReadDir(filepath.Join(c.dir, "evaluations"))
	if err != nil || len(entries) != maxCacheFiles {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for key, kept := range map[string]bool{"new": true, "0003": true, fmt.Sprintf("%04d", maxCacheFiles+19): true, "0000": false, "0021": false, "0022": true} {
		if _, err := os.Stat(c.path(key)); (err == nil) != kept {
			t.Errorf("%s: kept %v, want %v", key, err == nil, kept)
		}
	}
}

func TestDefaultCacheDir(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/c")
	if got := DefaultCacheDir(); got != "/c/ferry" {
		t.Error(got)
	}
	t.Setenv("XDG_CACHE_HOME", "relative") // to be ignored, says the XDG specification
	t.Setenv("HOME", "/h")
	if got := DefaultCacheDir(); got != "/h/.cache/ferry" {
		t.Error(got)
	}
}
