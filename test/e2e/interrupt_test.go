//go:build lab

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// slowBuild is a line for a module whose system takes a day to build.
func slowBuild(name string) string {
	return fmt.Sprintf(`environment.systemPackages = [ (packages.run "slow-%[1]s" { } "echo slow-%[1]s begins; sleep 86400; mkdir $out") ];`, name)
}

// builders counts the processes of such a build.
func builders(t *testing.T, m *lab.Machine, name string) int {
	t.Helper()
	n, err := strconv.Atoi(output(t, m, "sh", "-c", `pgrep -fc "$1" || :`, "sh", "[s]low-"+name+" begins"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// running is a ferry in the background, with a process group of its own.
type running struct {
	in   *infra
	file string // has its process id
	out  *said
	done chan *ran
}

// said collects what is printed, and can be read meanwhile.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.buf.String(), text)
}

func (in *infra) begin(args ...string) *running {
	in.t.Helper()
	r := &running{in: in, file: "/run/ferry-" + args[1], out: &said{}, done: make(chan *ran, 1)}
	start := []string{"setsid", "--wait", "sh", "-c", `echo $$ >"$0" && exec "$@"`, r.file}
	go func() { r.done <- in.ferryWith(lab.Cmd{Args: start, Stdout: r.out, Stderr: r.out}, args...) }()
	return r
}

// signal sends a signal to ferry and all it started in its process group, as a
// terminal does.
func (r *running) signal(name string) {
	r.in.t.Helper()
	r.in.op("sh", "-c", `kill -s "$1" -- "-$(cat "$2")"`, "sh", name, r.file)
}

func (r *running) wait() *ran {
	r.in.t.Helper()
	limit, cancel := lab.WithPatience(r.in.t.Context(), time.Minute)
	defer cancel()
	select {
	case res := <-r.done:
		return res
	case <-limit.Done():
		r.in.t.Fatal("ferry does not end")
		return nil
	}
}

// says waits until ferry has printed the text.
func (r *running) says(text string) {
	r.in.t.Helper()
	eventually(r.in.t, "ferry says "+text, time.Minute, func() bool { return r.out.has(text) })
}

// building waits until the slow build runs on the host.
func (r *running) building(m *lab.Machine, name string) {
	r.in.t.Helper()
	eventually(r.in.t, "the build of "+name, time.Minute, func() bool { return builders(r.in.t, m, name) > 0 })
}

// locked reports whether somebody holds the VM's lock.
func (v vmOn) locked() bool {
	v.t.Helper()
	return output(v.t, v.host, "sh", "-c", `flock -n "/var/lib/ferry/locks/$1" true && echo free || echo locked`, "sh", v.name) == "locked"
}

// untouched waits until the host has put away an interrupted build, and fails
// the test unless everything else is as it was.
func (v vmOn) untouched(before map[string]string) {
	v.t.Helper()
	eventually(v.t, "the end of the build", 20*time.Second, func() bool { return builders(v.t, v.host, v.name) == 0 })
	eventually(v.t, "the lock to be free", 20*time.Second, func() bool { return !v.locked() })
	for m, after := range state(v.t) {
		if after != before[m] {
			v.t.Errorf("%s was changed:\n%s", m, difference(before[m], after))
		}
	}
	if h := v.history(); !strings.Contains(h, `"outcome":"interrupted"`) {
		v.t.Errorf("history: %s", h)
	}
}

// Before activation an interrupted run ends the build, and nothing has changed:
// Ctrl-C, and ferry killed without a chance to say anything.
// NixOS/nixpkgs#403269
func TestInterruptedBuildEnds(t *testing.T) {
	for _, h := range []struct {
		host *lab.Machine
		to   []string
	}{{world.host1, []string{"root@host1"}}, {world.host2, []string{"deploy@host2", "--host-sudo"}}} {
		for _, signal := range []string{"INT", "TERM", "KILL"} {
			t.Run(h.host.Name+" "+signal, func(t *testing.T) {
				name := strings.ToLower("int-" + h.host.Name + "-" + signal)
				in := newInfra(t, "", map[string]string{name: vmModule(name)})
				vm := onHost(t, h.host, name)
				args := append([]string{"rebuild", name}, h.to...)
				in.deploy(result.OutcomeStarted, args...)
				in.write(name+".nix", vmModule(name, slowBuild(name)))
				before := state(t)
				run := in.begin(args...)
				run.building(h.host, name)
				if !vm.locked() || vm.root("ferry/"+name+"/pending") == "" {
					t.Error("no lock or no pending root during the build: is this test still right?")
				}
				run.signal(signal)
				r := run.wait()
				if signal != "KILL" {
					r.want(130, "error: "+name+": interrupted", name+": nothing was changed")
				}
				vm.untouched(before)
				in.write(name+".nix", vmModule(name, `lab.note = "after";`))
				in.deploy(result.OutcomeRestarted, args...)
			})
		}
	}
}

// Ctrl-C on a terminal.
func TestCtrlC(t *testing.T) {
	in := newInfra(t, "", map[string]string{"ctrlc": vmModule("ctrlc", slowBuild("ctrlc"))})
	vm := onHost(t, world.host1, "ctrlc")
	before := state(t)
	keys, keyboard := io.Pipe()
	defer keyboard.Close()
	done := make(chan *ran, 1)
	go func() {
		// A session of its own: the lab's nsenter is not to get the signal.
		done <- in.ferryWith(lab.Cmd{TTY: true, Stdin: keys, Args: []string{"setsid", "--ctty", "--wait"}}, "rebuild", "ctrlc", toHost1)
	}()
	eventually(t, "the build", time.Minute, func() bool { return builders(t, world.host1, "ctrlc") > 0 })
	_, _ = io.WriteString(keyboard, "\x03")
	(<-done).want(130, "ctrlc: interrupted", "ctrlc: nothing was changed")
	vm.untouched(before)
	vm.noDirectory()
}

// One deployment for a VM at a time; other VMs don't wait.
func TestLockedVM(t *testing.T) {
	in := newInfra(t, "", map[string]string{
		"taken": vmModule("taken", slowBuild("taken")), "free": vmModule("free"),
	})
	run := in.begin("rebuild", "taken", toHost1)
	run.building(world.host1, "taken")
	in.ferry("rebuild", "taken", toHost1).want(5, "taken is locked by root@operator since ", hint+"wait for it to end", "nothing was changed")
	in.ferry("install", "taken", toHost1).want(5, "is locked by root@operator")
	in.ferry("rebuild", "taken", toHost1, "--dry-run").want(0, "would")
	in.deploy(result.OutcomeStarted, "rebuild", "free", toHost1)
	if builders(t, world.host1, "taken") == 0 {
		t.Error("the first build ended")
	}
	run.signal("INT")
	run.wait().want(130)
	onHost(t, world.host1, "taken").noDirectory()
}
