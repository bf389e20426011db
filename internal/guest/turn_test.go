package guest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// turns is a directory in which processes take the turn to switch for real, beside
// a fake systemctl that lists the units in a file.
type turns struct {
	t   *testing.T
	dir string
}

func newTurns(t *testing.T) turns {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("the guest's scripts are for Linux:", err)
	}
	g := fakeGuest{t: t, dir: t.TempDir()}
	g.write("bin/systemctl", "#!/bin/sh\ngrep -s . "+g.dir+"/units\nexit 0\n")
	return turns{t: t, dir: g.dir}
}

// run runs lines of shell with the scripts' functions.
func (g turns) run(lines string) string {
	script := strings.ReplaceAll(holdScript+baseScript, "/run/ferry/", g.dir+"/") + "PATH=" + g.dir + "/bin:$PATH\nmarker=m\n" + lines
	out, err := exec.Command("sh", "-euc", script).CombinedOutput()
	if err != nil {
		g.t.Errorf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func (g turns) links() []string {
	links, _ := filepath.Glob(filepath.Join(g.dir, "turn-*"))
	return links
}

// Of many that begin at once, one switches. It has the turn for as long as it
// lives, or its units do, and nobody has to clean up after it.
func TestOnlyOneTakesTheTurn(t *testing.T) {
	g := newTurns(t)
	const many = 12
	for round := range 4 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		// Who wins stays until all others have been told.
		for i := range many {
			wg.Go(func() {
				said := g.run(fmt.Sprintf(`started $$
if take "r%[1]d-%[2]d:$$:$start:ann@laptop"; then
  echo won
  until [ "$(ls %[3]s/told | wc -l)" -ge %[4]d ]; do sleep 0.02; done
else
  mkdir -p %[3]s/told && : >%[3]s/told/%[2]d && echo "lost to $holder"
fi`, round, i, g.dir, many-1))
				mu.Lock()
				defer mu.Unlock()
				if strings.HasPrefix(said, "won") {
					won++
				} else if !strings.Contains(said, "lost to r"+fmt.Sprint(round)) {
					t.Errorf("round %d: %q", round, said)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("round %d: %d have the turn", round, won)
		}
		if err := os.RemoveAll(filepath.Join(g.dir, "told")); err != nil {
			t.Fatal(err)
		}
		if links := g.links(); len(links) != 1 {
			t.Errorf("round %d: %q", round, links)
		}
	}
}

func TestTurnCountsWhileItsUnitsOrItsWriterLive(t *testing.T) {
	g := newTurns(t)
	const mine = `started $$
if take "b:$$:$start:bob@laptop"; then echo won; else echo "lost to $holder"; fi`
	for _, c := range []struct{ what, turn, units, says string }{
		{"its writer is gone", "a:1:5:ann@laptop", "", "won"},
		{"its writer lives", "a:$$:$start:ann@laptop", "", "lost to a:"},
		{"its unit is there", "a:1:5:ann@laptop", "ferry-rollback-a.service loaded active running", "lost to a:1:5:ann@laptop"},
	} {
		for _, l := range g.links() {
			_ = os.Remove(l)
		}
		fakeGuest{t: t, dir: g.dir}.write("units", c.units)
		said := g.run("started $$\nln -s \"" + c.turn + "\" " + g.dir + "/turn-1\n" + mine)
		if !strings.HasPrefix(said, c.says) {
			t.Errorf("%s: %q", c.what, said)
		}
	}
}

// One that stood still between its look and its link, while two others have come
// and gone, has nothing.
func TestLateTurnIsGivenBack(t *testing.T) {
	g := newTurns(t)
	said := g.run(`started $$
began=$start
command ln -s a:1:5:x ` + g.dir + `/turn-1
ln() {
  [ -z "${slow-}" ] || { command ln "$@"; return; }
  slow=no
  rm ` + g.dir + `/turn-1
  command ln -s "live:$$:$began:ann@laptop" ` + g.dir + `/turn-3
  command ln "$@"
}
if take "b:$$:$began:bob@laptop"; then echo won; else echo "lost to $holder"; fi`)
	if !strings.HasPrefix(said, "lost to live:") || len(g.links()) != 1 {
		t.Errorf("%q, left %q", said, g.links())
	}
}
