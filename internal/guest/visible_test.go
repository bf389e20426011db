package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// begin runs the script that begins a switch, for real up to systemd-run, with a
// `sleep` that is the given script.
func (g fakeGuest) begin(sleep string) string {
	g.t.Helper()
	g.write("bin/id", "#!/bin/sh\necho 0\n")
	g.write("bin/systemd-run", "#!/bin/sh\necho \"$*\" >>"+g.dir+"/started\n")
	g.write("bin/sleep", "#!/bin/sh\n"+sleep)
	script := strings.NewReplacer("/run/ferry/", g.dir+"/run2/", "mkdir -p /run/ferry\n", "mkdir -p "+g.dir+"/run2\n").Replace(whole(switchScript))
	cmd := exec.Command("sh", "-c", script, "ferry", "MARK", filepath.Join(g.dir, "new"), "dry-activate", "id", "", filepath.Join(g.dir, "registration"), "60", "0", "", "", "ann@laptop")
	cmd.Env = append(os.Environ(), "PATH="+g.dir+"/bin:"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// A cache or an overlay of the share may show less than the host has: nothing is
// begun before all of the new system is there.
func TestSwitchWaitsUntilTheGuestSeesTheSystem(t *testing.T) {
	whole := func(g fakeGuest) {
		g.write("new/bin/switch-to-configuration", "#!/bin/sh\n")
		g.write("registration", "")
		g.write("elsewhere/bin/sh", "")
		if err := os.Symlink(filepath.Join(g.dir, "elsewhere"), filepath.Join(g.dir, "new/sw")); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		hide  string // what isn't visible at first
		sleep string // what happens meanwhile; HIDDEN and DIR are replaced
		want  string
	}{
		"all is there":                 {"", "", "MARK started=id"},
		"nothing is there":             {"new", "", "is not in this machine's store: the host's /nix/store is not shared here, or a cache or an overlay"},
		"what it links to isn't there": {"elsewhere", "", "is not whole in this machine's store"},
		"no registration":              {"registration", "", "is not whole in this machine's store"},
		"it is there after a while":    {"new", "mv HIDDEN DIR/new 2>/dev/null; exit 0\n", "MARK started=id"},
		"its parts are, after a while": {"elsewhere", "mv HIDDEN DIR/elsewhere 2>/dev/null; exit 0\n", "MARK started=id"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGuest(t, "")
			whole(g)
			hidden := filepath.Join(g.dir, "hidden")
			if tt.hide != "" {
				if err := os.Rename(filepath.Join(g.dir, tt.hide), hidden); err != nil {
					t.Fatal(err)
				}
			}
			out := g.begin(strings.NewReplacer("HIDDEN", hidden, "DIR", g.dir).Replace(tt.sleep))
			if !strings.Contains(out, tt.want) {
				t.Errorf("got %q, wanted %q", out, tt.want)
			}
			if begun := g.read("started") != ""; begun != strings.Contains(tt.want, "started=") {
				t.Errorf("begun: %v", begun)
			}
		})
	}
}
