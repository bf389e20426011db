package completion

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// `git add` of a flake.nix makes a flake of a directory that was none for Nix, and
// changes no file of it.
func TestFileThatGitTakesUpIsEvaluated(t *testing.T) {
	d := newDesk(t)
	d.yields = ""
	d.want(1)
	d.want(0)
	d.yields = `{"vms":{"web":{}}}`
	d.write(".git/index", "flake.nix")
	d.want(1, "web")
	d.want(0, "web")
}

// Descriptions are text from elsewhere: one line, harmless, and short.
func TestDescriptionsAreShort(t *testing.T) {
	if got := Word("web", "a\nb\t\x1b[31mc"); strings.ContainsAny(got[len("web\t"):], "\n\t\x1b") {
		t.Errorf("%q", got)
	}
	for n, want := range map[int]int{maxAbout: maxAbout, maxAbout + 1: maxAbout} {
		_, about, _ := strings.Cut(Word("web", strings.Repeat("ü", n)), "\t")
		if got := utf8.RuneCountInString(about); got != want || strings.HasSuffix(about, "…") != (n > maxAbout) {
			t.Errorf("%d characters became %d: %s", n, got, about)
		}
	}
}

// A pipe in the place of a file keeps the shell waiting for nobody.
func TestPipesAreNotRead(t *testing.T) {
	d := newDesk(t)
	d.want(1, "web")
	p, _ := locate(d.dir)
	cached, lock := cache{d.offers.Dir}.path(p, ".json"), filepath.Join(d.dir, "flake.lock")
	if err := os.Remove(cached); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{cached, lock} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.want(1, "web")
		if got := inputs(d.dir); got != nil {
			t.Errorf("inputs %q", got)
		}
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for somebody to write into a pipe")
	}
}
