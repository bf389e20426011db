//go:build lab

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ferry/internal/lab"
)

// The system calls that matter for what is on the disk after a crash. strace
// shows the file behind a descriptor as FD</path>.
var (
	callRename  = regexp.MustCompile(`renameat2?\(\d+<([^>]*)>, "([^"]*)", \d+<([^>]*)>, "([^"]*)".*\)\s+= 0`)
	callSymlink = regexp.MustCompile(`symlinkat\("([^"]*)", \d+<([^>]*)>, "([^"]*)"\)\s+= 0`)
	callFsync   = regexp.MustCompile(`fsync\(\d+<([^>]*)>\)\s+= 0`)
	callWrite   = regexp.MustCompile(`write\(\d+<([^>]*)>, .*\)\s+= \d+`)
)

// trace is what has happened so far, and what is wrong with its order.
type trace struct {
	dirty    map[string]bool // files written and not yet fsynced
	moved    string          // directory with a rename that is not yet on disk
	renames  []string        // in their order, without the directories' common part
	appended bool            // the history was fsynced after its last write
	problems []string
	begun    map[string]string // calls that have not ended, by thread
}

func newTrace() *trace { return &trace{dirty: map[string]bool{}, begun: map[string]string{}} }

// read follows a trace: nothing is renamed before its content is on disk, and no
// rename is followed by another change before its directory is.
func (tr *trace) read(line string) {
	ours := func(p string) bool {
		return strings.Contains(p, "/microvms") || strings.Contains(p, "/var/lib/ferry") || strings.Contains(p, "/gcroots/microvm")
	}
	if m := callWrite.FindStringSubmatch(line); m != nil && ours(m[1]) {
		tr.dirty[m[1]] = true
	}
	if m := callFsync.FindStringSubmatch(line); m != nil {
		delete(tr.dirty, m[1])
		if m[1] == tr.moved {
			tr.moved = ""
		}
		tr.appended = tr.appended || path.Base(m[1]) == "history.jsonl"
	}
	if m := callSymlink.FindStringSubmatch(line); m != nil && ours(m[2]) && tr.moved != "" {
		tr.problem("%s is linked before the rename in %s is on disk", m[3], tr.moved)
	}
	if m := callRename.FindStringSubmatch(line); m != nil && ours(m[3]) {
		if tr.dirty[path.Join(m[1], m[2])] {
			tr.problem("%s is renamed before its content is on disk", m[2])
		}
		if tr.moved != "" {
			tr.problem("%s is renamed before the rename in %s is on disk", m[4], tr.moved)
		}
		tr.moved = m[3]
		tr.renames = append(tr.renames, path.Base(m[3])+"/"+m[4])
	}
}

func (tr *trace) problem(format string, args ...any) {
	tr.problems = append(tr.problems, fmt.Sprintf(format, args...))
}

// The trace's reader finds what it is for.
func TestTraceReader(t *testing.T) {
	const (
		write  = `12 write(9</var/lib/ferry/vms/x/.ferry-a-1>, "{", 1) = 1`
		sync   = `12 fsync(9</var/lib/ferry/vms/x/.ferry-a-1>) = 0`
		rename = `12 renameat(8</var/lib/ferry/vms/x>, ".ferry-a-1", 8</var/lib/ferry/vms/x>, "a") = 0`
		dir    = `12 fsync(10</var/lib/ferry/vms/x>) = 0`
		link   = `12 symlinkat("/nix/store/y", 8</var/lib/microvms/x>, ".ferry-old-1") = 0`
	)
	for want, lines := range map[string][]string{
		"": {write, sync, rename, dir, link}, "before its content": {write, rename, dir}, "is linked before": {write, sync, rename, link},
		"renamed before the rename": {write, sync, rename, write, sync, rename},
	} {
		tr := newTrace()
		for _, l := range lines {
			tr.read(l)
		}
		if got := strings.Join(tr.problems, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%v: %q instead of %q", lines, got, want)
		}
	}
}

// Issue 4, point 4: the order of system calls of a deployment on the host, as
// strace sees it: content, fsync, rename, fsync of the directory; `old` before
// `current`; the history fsynced. (Nix makes the generations' links itself.)
func TestOrderOfSystemCalls(t *testing.T) {
	in := newInfra(t, "", map[string]string{"durable": vmModule("durable")})
	vm := onHost(t, world.host2, "durable")
	in.copyTo(world.host2)
	tr := in.traced(world.host2, "microvm", "-f", in.dir, "-c", "durable")
	tr.want(t, "microvms/durable", "durable/current", "durable/flake")
	vm.systemctl("start")
	in.write("durable.nix", vmModule("durable", `lab.note = "2";`))
	in.copyTo(world.host2)
	tr = in.traced(world.host2, "microvm", "-Ru", "durable")
	tr.want(t, "durable/deployment.json", "durable/old", "durable/current")
	if vm.link("old") == "" || vm.link("booted") != vm.link("current") {
		t.Error("nothing was updated")
	}
	vm.systemctl("stop")
}

// want fails the test if something is out of order, or the renames are not among
// those that were seen, in this order.
func (tr *trace) want(t *testing.T, renames ...string) {
	t.Helper()
	for _, p := range tr.problems {
		t.Error(p)
	}
	if tr.moved != "" {
		t.Errorf("the last rename, in %s, is not on disk", tr.moved)
	}
	for file := range tr.dirty {
		// Who holds the lock, and what was said meanwhile, are of no use after a crash.
		if !strings.Contains(file, "/locks/") && path.Ext(file) != ".log" {
			t.Errorf("%s is not on disk", file)
		}
	}
	if !tr.appended {
		t.Error("the history is not on disk")
	}
	seen := strings.Join(tr.renames, " ") + " "
	t.Logf("renames: %s", seen)
	for _, want := range renames {
		_, after, found := strings.Cut(seen, want+" ")
		if !found {
			t.Fatalf("no rename to %s after the one before", want)
		}
		seen = after
	}
}

// traced runs a command in a machine under strace, which runs outside.
func (in *infra) traced(m *lab.Machine, args ...string) *trace {
	in.t.Helper()
	dir := in.t.TempDir()
	program, file := filepath.Join(dir, "lab"), filepath.Join(dir, "trace")
	if out, err := exec.CommandContext(in.t.Context(), "go", "build", "-o", program, "ferry/cmd/lab").CombinedOutput(); err != nil {
		in.t.Fatalf("%v\n%s", err, out)
	}
	cmd := append([]string{"-f", "-y", "-qq", "-s", "64", "-e", "trace=write,symlinkat,renameat,renameat2,fsync,mkdirat,unlinkat", "-o", file, program, "--root", labRoot(), "exec", m.Name, "--"}, args...)
	if out, err := exec.CommandContext(in.t.Context(), "strace", cmd...).CombinedOutput(); err != nil {
		in.t.Fatalf("strace %s: %v\n%s", strings.Join(cmd, " "), err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		in.t.Fatal(err)
	}
	tr := newTrace()
	for line := range strings.Lines(string(b)) {
		tr.read(tr.joined(line))
	}
	return tr
}

// joined puts the two lines together on which a call stands that others came
// between: it counts where it has ended.
func (tr *trace) joined(line string) string {
	thread, call, _ := strings.Cut(line, " ")
	if begun, cut := strings.CutSuffix(strings.TrimSpace(call), "<unfinished ...>"); cut {
		tr.begun[thread] = strings.TrimSpace(begun)
		return ""
	}
	if _, rest, ok := strings.Cut(call, "resumed>"); ok {
		return thread + " " + tr.begun[thread] + rest
	}
	return line
}
