package completion

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
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
