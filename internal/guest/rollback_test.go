package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGuest is a directory in which the way back of deployment `id` runs for
// real, between a fake systemctl and a fake switch-to-configuration.
type fakeGuest struct {
	t   *testing.T
	dir string
}

func newFakeGuest(t *testing.T, failedUnits string) fakeGuest {
	t.Helper()
	if _, err := os.Stat("/proc/uptime"); err != nil {
		t.Skip("the guest's scripts are for Linux:", err)
	}
	g := fakeGuest{t: t, dir: t.TempDir()}
	previous := filepath.Join(g.dir, "previous")
	g.write("previous/bin/switch-to-configuration", "#!/bin/sh\nexit 0\n")
	g.write("previous/sw/bin/systemctl", "#!/bin/sh\necho \"$*\" >>"+g.dir+"/asked\ncase $1 in list-units) cat "+g.dir+"/units ;; esac\n")
	g.write("units", failedUnits)
	g.write("run/id/note", "/nix/store/new switch 60 0 0 "+previous+"\n")
	g.write("run/id/begun", "1\n")
	g.write("run/id/status", "4\n")
	g.write("run/id/undo-now", "")
	if err := os.Symlink(previous, filepath.Join(g.dir, "current-system")); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g fakeGuest) write(path, content string) {
	g.t.Helper()
	full := filepath.Join(g.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
		g.t.Fatal(err)
	}
}

func (g fakeGuest) read(path string) string {
	b, _ := os.ReadFile(filepath.Join(g.dir, path))
	return string(b)
}

func (g fakeGuest) goBack() {
	g.t.Helper()
	script := strings.NewReplacer("/run/ferry/", g.dir+"/run/", "/run/current-system", g.dir+"/current-system",
		"/nix/var/nix/profiles/system", g.dir+"/profile").Replace(whole(rollbackScript))
	if out, err := exec.Command("sh", "-c", script, "ferry", "id").CombinedOutput(); err != nil {
		g.t.Fatalf("%v\n%s", err, out)
	}
	if got := g.read("run/id/undo.status"); got != "0\n" {
		g.t.Errorf("undo.status is %q\n%s", got, g.read("run/id/undo.log"))
	}
}

// `bad.service not-found failed` stayed until the next boot.
func TestUndoForgetsUnitsThatItRemoved(t *testing.T) {
	g := newFakeGuest(t, "bad.service not-found failed failed bad.service\n"+
		"old.service not-found failed failed old.service\nreal.service loaded failed failed A service\n"+
		`dev-\x2d.mount not-found failed failed x`+"\n")
	g.write("run/id/failed", "old.service real.service ")
	g.goBack()
	if asked := g.read("asked"); !strings.HasSuffix(asked, "\nreset-failed -- bad.service "+`dev-\x2d.mount`+"\n") {
		t.Errorf("systemctl was asked:\n%s", asked)
	}
}

func TestUndoForgetsNothingElse(t *testing.T) {
	g := newFakeGuest(t, "real.service loaded failed failed A service\n")
	g.goBack()
	if asked := g.read("asked"); strings.Contains(asked, "reset-failed") || strings.Count(asked, "\n") != 2 {
		t.Errorf("systemctl was asked:\n%s", asked)
	}
}
