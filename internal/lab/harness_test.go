//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	ReapIfAsked()
	os.Exit(m.Run())
}

// newTestLab is a lab of its own, so that the tests neither meet nor end one
// that somebody works in.
func newTestLab(t *testing.T, hosts int) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the lab needs root")
	}
	root := testRoot(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		begin := time.Now()
		if err := Down(ctx, root); err != nil {
			t.Errorf("down: %v", err)
		}
		t.Logf("down: %s", time.Since(begin).Round(10*time.Millisecond))
		if left := leftovers(t, root); len(left) != 0 {
			t.Errorf("down left behind:\n%s", strings.Join(left, "\n"))
		}
	})
	if err := EndWithProcess(root); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	l, err := Up(t.Context(), Options{Hosts: hosts, Root: root, Log: logWriter{t}, Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up: %s", time.Since(begin).Round(10*time.Millisecond))
	return l
}

// testRoot is a name for a lab's root; nothing is there.
func testRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/lib", "ferry-lab-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	return filepath.Join(dir, "lab")
}

// leftovers lists what a lab in root has on this machine: mounts, processes,
// control groups, nspawn's own directories, the root.
func leftovers(t *testing.T, root string) []string {
	t.Helper()
	id := newLab(Options{Root: root}).id()
	var left []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, root) {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	for _, pid := range pids() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		// (A killed process without a parent waits for this machine's init.)
		if pid != os.Getpid() && startTime(pid) != "" && (bytes.Contains(cmdline, []byte(root)) || bytes.Contains(cgroup, []byte("/"+id+"/"))) {
			left = append(left, fmt.Sprintf("process %d %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	groups, err := cgroupRoots()
	if err != nil {
		t.Fatal(err)
	}
	places := []string{root}
	for _, g := range groups {
		places = append(places, filepath.Join(g, id))
	}
	for _, pattern := range []string{"/run/systemd/nspawn/*/" + id + "-*", "/run/systemd/machines/" + id + "-*"} {
		found, _ := filepath.Glob(pattern)
		places = append(places, found...)
	}
	for _, p := range places {
		if _, err := os.Lstat(p); err == nil {
			left = append(left, p)
		}
	}
	return left
}

func interfaces(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func machine(t *testing.T, l *Lab, name string) *Machine {
	t.Helper()
	m, err := l.Machine(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sh runs a shell script as root in a machine and returns its trimmed output.
func sh(t *testing.T, m *Machine, script string) string {
	t.Helper()
	out, err := m.Output(t.Context(), "bash", "-euc", script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func eventually(t *testing.T, limit time.Duration, what string, ready func(context.Context) error) {
	t.Helper()
	if err := Await(t.Context(), limit, 200*time.Millisecond, ready); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatalf("%q is no number", s)
	}
	return n
}
