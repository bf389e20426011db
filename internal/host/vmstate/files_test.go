package vmstate

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplaceLinkNeverFollows(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	if err := replaceLink(dir, "current", someRunner); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "flake")); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, "flake", []byte("github:example/infra"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(outside); string(b) != "mine" {
		t.Errorf("a planted link was followed: %q", b)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("files left: %v", entries)
	}
	// A directory in the way is nobody's to remove.
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replaceLink(dir, "old", someRunner); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("files left after a failure: %v", entries)
	}
}
