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

func (g fakeGuest) remove(name string) { _ = os.Remove(filepath.Join(g.dir, "run/id", name)) }

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
	if asked := g.read("asked"); strings.Contains(asked, "reset-failed") || strings.Count(asked, "\n") != 3 {
		t.Errorf("systemctl was asked:\n%s", asked)
	}
}

// "The guest has undone the switch by itself" said neither why nor what had failed.
func TestUndoSaysWhy(t *testing.T) {
	const units = "bad.service loaded failed failed bad.service\n"
	for _, c := range []struct {
		name   string
		change func(fakeGuest)
		says   string
	}{
		{"an operator says so", func(g fakeGuest) { g.write("run/id/undo-now", "no route to web\n") }, "no route to web; switch-to-configuration had ended with exit status 4"},
		{"nobody confirms", func(g fakeGuest) {
			g.remove("undo-now")
			g.write("run/id/status", "0\n")
			g.write("run/id/deadline", "0\n")
		}, "nobody confirmed it within 60 s"},
		{"too slow", func(g fakeGuest) {
			g.remove("undo-now")
			g.remove("status")
			g.write("run/id/note", strings.Replace(g.read("run/id/note"), "60 0 0", "60 3 0", 1))
		}, "the switch took longer than 3 s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newFakeGuest(t, units)
			g.write("run/id/log", "restarting nginx\nno such table\n")
			c.change(g)
			g.goBack()
			if got, want := g.read("run/id/why"), c.says+"\nrestarting nginx\nno such table\nfailed units: bad.service\n"; got != want {
				t.Errorf("got %q, wanted %q", got, want)
			}
			const m = "ferry-m"
			out, err := exec.Command("sh", "-c", strings.ReplaceAll(whole(whyScript), "/run/ferry/", g.dir+"/run/"), "ferry", m, "id").Output()
			if err != nil || !strings.Contains(string(out), m+" why="+c.says+"\n") || !strings.Contains(string(out), "no such table") || !strings.Contains(string(out), m+" previous="+g.dir) {
				t.Errorf("asked later: %q, %v", out, err)
			}
		})
	}
}
