package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Nothing is loaded, and nothing else done, on a machine that does not see what the
// host has just made in its store.
func TestSwitchOfAnotherHostsGuest(t *testing.T) {
	g := newFakeGuest(t, "")
	g.write("bin/id", "#!/bin/sh\necho 0\n")
	g.write("bin/sleep", "#!/bin/sh\n")
	g.write("bin/systemd-run", "#!/bin/sh\nexit 1\n")
	g.write("bin/systemctl", "#!/bin/sh\n")
	g.write("new/bin/switch-to-configuration", "#!/bin/sh\n")
	g.write("new/sw/bin/nix-store", "#!/bin/sh\ncat >"+g.dir+"/loaded\n")
	g.write("token", "")
	script := strings.NewReplacer("/run/ferry/", g.dir+"/switches/", "mkdir -p /run/ferry\n", "mkdir -p "+g.dir+"/switches\n", "/run/current-system", g.dir+"/current-system",
		"/nix/var/nix/profiles/system", g.dir+"/profile").Replace(whole(switchScript))
	for token, want := range map[string]string{
		"token": "the way back could not be armed", "gone": g.dir + "/gone, which the host has just made, is not here",
	} {
		g.write("loaded", "")
		cmd := exec.Command("sh", "-c", script, "ferry", "MARK", filepath.Join(g.dir, "new"), "test", "new", "", "-", "60", "0", "exit 0", filepath.Join(g.dir, token), "ann@laptop")
		cmd.Env = []string{"PATH=" + filepath.Join(g.dir, "bin") + ":/usr/bin:/bin"}
		cmd.Stdin = strings.NewReader("registration")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "MARK refused=") || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", token, err, out)
		}
		if loaded := g.read("loaded") != ""; loaded != (token == "token") {
			t.Errorf("%s: loaded: %t", token, loaded)
		}
		if token == "gone" && left(g, "switches/new") {
			t.Error("something is left of it")
		}
		_ = os.RemoveAll(filepath.Join(g.dir, "switches"))
	}
}

func left(g fakeGuest, path string) bool {
	_, err := os.Lstat(filepath.Join(g.dir, path))
	return err == nil
}
