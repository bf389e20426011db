package virtiofs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const roomEnv = "FERRY_TEST_ROOM"

// become is the process that takes a room; it needs root.
func become(t *testing.T, r Room) (string, error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTakesTheRoom$")
	cmd.Env = append(os.Environ(), roomEnv+"="+string(b))
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "a mount namespace: operation not permitted") {
		t.Skip("needs CAP_SYS_ADMIN")
	}
	return string(out), err
}

// TestTakesTheRoom is the process of become.
func TestTakesTheRoom(t *testing.T) {
	b := os.Getenv(roomEnv)
	if b == "" {
		t.Skip("only for become")
	}
	var r Room
	if err := json.Unmarshal([]byte(b), &r); err != nil {
		t.Fatal(err)
	}
	t.Fatal(r.Run())
}

// Planted links beside the sockets lead nowhere, absolute and relative names are
// root's own directory, and of the rest there are the shares' sources only.
func TestVirtiofsdSeesNothingPlanted(t *testing.T) {
	r := newRoom(t, `set -e
echo 1 >web-virtiofs-x.sock.pid
echo 2 >"$1/supervisord.log"; echo 3 >supervisord.log
ls -A . && ls -A .. && cat journal/entry ../db/data/entry
echo guest >journal/written
`, [3]string{"x", "journal", "web-virtiofs-x.sock"}, [3]string{"y", "/srv", ""})
	write(t, r.Root+string(runner)+"/share/microvm/virtiofs/z/source", r.StateDir+"/db/data\n")
	write(t, r.dir()+"/journal/entry", "of web")
	write(t, r.StateDir+"/db/data/entry", " of db\n")
	write(t, r.StateDir+"/db/secret", "secret")
	canary := filepath.Join(filepath.Dir(r.StateDir), "canary")
	write(t, canary, "canary")
	for _, name := range []string{"web-virtiofs-x.sock.pid", "supervisord.log"} {
		link(t, canary, r.dir()+"/"+name)
	}
	script := r.Root + string(runner) + "/bin/virtiofsd-run"
	b, _ := os.ReadFile(script)
	write(t, script, strings.ReplaceAll(string(b), "$1", r.dir()))

	out, err := become(t, r)
	if err != nil || out != "journal\nsupervisord.log\nweb-virtiofs-x.sock.pid\ndb\nweb\nof web of db\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if b, _ := os.ReadFile(canary); string(b) != "canary" {
		t.Errorf("the target of the planted links holds %q", b)
	}
	if b, _ := os.ReadFile(r.dir() + "/journal/written"); string(b) != "guest\n" {
		t.Errorf("the share was written to: %q", b)
	}
	if b, _ := os.ReadFile(r.own() + "/web-virtiofs-x.sock.pid"); string(b) != "1\n" {
		t.Errorf("root's own directory has %q", b)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), r.StateDir) {
		t.Errorf("the machine itself sees the mounts: %s", mounts)
	}
}

// A source that is a link, or has one above it, is not shared: user microvm could
// have made it.
func TestSourceThroughALinkIsRefused(t *testing.T) {
	for _, source := range []string{"data", "data/inner", "gone", "file"} {
		r := newRoom(t, "echo started\n", [3]string{"x", source, "x.sock"})
		elsewhere := t.TempDir()
		write(t, elsewhere+"/inner/x", "")
		link(t, elsewhere, r.dir()+"/data")
		write(t, r.dir()+"/file", "")
		if out, err := become(t, r); err == nil || strings.Contains(out, "started") || !strings.Contains(out, r.dir()+"/"+source) {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
	}
}

// However a source is swapped for a link while virtiofsd starts, the directory
// that is shared is one of the VM's own.
func TestSourceIsSwappedWhileItStarts(t *testing.T) {
	r := newRoom(t, "for i in 1 2 3 4 5 6 7 8; do cat data/whose; done\n", [3]string{"x", "data", "x.sock"})
	elsewhere := t.TempDir()
	write(t, elsewhere+"/whose", "root's\n")
	write(t, r.dir()+"/data/whose", "its own\n")
	link(t, elsewhere, r.dir()+"/evil")
	done, swapped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				swapped <- n
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, r.dir()+"/data", unix.AT_FDCWD, r.dir()+"/evil", unix.RENAME_EXCHANGE)
				n++
			}
		}
	}()
	started, refused := 0, 0
	for started < 5 {
		out, err := become(t, r)
		if strings.Contains(out, "root's") {
			t.Fatalf("what the link leads to is shared: %s", out)
		}
		if err == nil {
			started++
		} else {
			refused++
		}
	}
	close(done)
	t.Logf("%d starts, %d refused, %d swaps", started, refused, <-swapped)
}
