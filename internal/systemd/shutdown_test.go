package systemd

import (
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"ferry/internal/hostapi"
)

// unitProperties are those of microvm.nix's unit, as D-Bus gives them, with what a
// test has otherwise.
func unitProperties(otherwise map[string]any) map[string]any {
	p := map[string]any{
		"MainPID": uint32(12), "User": "microvm", "Group": "kvm", "WorkingDirectory": "/var/lib/microvms/web",
		"ExecStop": [][]any{{"/var/lib/microvms/web/booted/bin/microvm-shutdown", []string{"/var/lib/microvms/web/booted/bin/microvm-shutdown"}, false}},
		"Restart":  "always", "RestartUSec": uint64(5_000_000), "TimeoutStopUSec": uint64(150_000_000),
		"Environment": []string{"PATH=/bin"},
	}
	for k, v := range otherwise {
		p[k] = v
	}
	return p
}

func TestHowAUnitIsStopped(t *testing.T) {
	v := serviceOf(unitProperties(nil))
	if v.pid != 12 || v.waits || v.returnsAtOnce() || v.timeout != 150*time.Second || v.user != "microvm" || v.group != "kvm" || v.env[0] != "PATH=/bin" {
		t.Errorf("microvm.nix's unit: %+v", v)
	}
	ours := [][]any{{"/bin/sh", []string{"/bin/sh", "-c", `tail -f -s 0.2 --pid="$$MAINPID" /dev/null | booted/bin/microvm-shutdown`}, false}}
	if v := serviceOf(unitProperties(map[string]any{"ExecStop": ours})); !v.waits {
		t.Error("ferry's own unit waits for the guest already")
	}
	if v := serviceOf(unitProperties(map[string]any{"RestartUSec": uint64(100_000)})); !v.returnsAtOnce() {
		t.Error("a unit that is started again at once")
	}
	if v := serviceOf(unitProperties(map[string]any{"RestartUSec": uint64(0), "Restart": "no"})); v.returnsAtOnce() {
		t.Error("a unit that is never started again")
	}
	if v := serviceOf(unitProperties(map[string]any{"TimeoutStopUSec": ^uint64(0), "RestartUSec": ^uint64(0)})); v.timeout != longestStop || v.returnsAtOnce() {
		t.Errorf("a unit without limits: %+v", v)
	}
	if v := serviceOf(map[string]any{}); v.pid != 0 {
		t.Errorf("no unit: %+v", v)
	}
}

// Nothing that user microvm could have named is run as root.
func TestScriptsAreNotRunAsRoot(t *testing.T) {
	for _, user := range []string{"", "root", "0"} {
		v := serviceOf(unitProperties(map[string]any{"User": user, "WorkingDirectory": t.TempDir()}))
		if script, _ := v.script(); script != "" {
			t.Errorf("as %q %s is run", user, script)
		}
	}
}

// hypervisor is a process that stands for one; it ends on SIGTERM, as the given
// shell lines have it.
func hypervisor(t *testing.T, lines string) *process {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux, where systemd is")
	}
	cmd := exec.Command("sh", "-c", lines)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil { // it is up
		t.Fatal(err)
	}
	p, err := openProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func TestWaitingForAGuest(t *testing.T) {
	answers := func(err error) <-chan error {
		told := make(chan error, 1)
		told <- err
		return told
	}
	for name, test := range map[string]struct {
		lines     string
		answer    <-chan error
		impatient bool
		timeout   time.Duration
		killed    string
		said      string
	}{
		"it shuts down":                        {lines: "echo up; sleep 1", timeout: time.Minute},
		"the script has asked and left":        {lines: "echo up; sleep 1", answer: answers(nil), timeout: time.Minute},
		"its session ends just before it does": {lines: "echo up; sleep 1", answer: answers(nil), impatient: true, timeout: time.Minute},
		"the session broke off with its end":   {lines: "echo up; sleep 1", answer: answers(errors.New("broken pipe")), timeout: time.Minute},
		"it ignores that": {
			lines: "echo up; exec sleep 60", timeout: 500 * time.Millisecond,
			killed: "the guest did not shut down within 500ms and was killed", said: "was killed",
		},
		"nobody was there to ask": {lines: "echo up; exec sleep 60", answer: answers(nil), impatient: true, timeout: time.Minute, said: "its hypervisor was not there yet"},
		"it could not be asked":   {lines: "echo up; exec sleep 60", answer: answers(errors.New("no socket")), timeout: time.Minute, said: "could not be asked to shut down: no socket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said []string
			w := waiting{main: hypervisor(t, test.lines), impatient: test.impatient, timeout: test.timeout, log: func(line string) { said = append(said, line) }}
			if killed := w.wait(test.answer); killed != test.killed {
				t.Errorf("killed: %q", killed)
			}
			if all := strings.Join(said, "\n"); (all == "") != (test.said == "") || !strings.Contains(all, test.said) {
				t.Errorf("said %q", all)
			}
		})
	}
}

// What a script's unit came to: only what is known to have failed sends another.
func TestWhetherAGuestWasAsked(t *testing.T) {
	exists := refused{godbus.Error{Name: "org.freedesktop.systemd1.UnitExists"}}
	for name, test := range map[string]struct {
		result     string
		err        error
		bad, known bool
	}{
		"it ended well":             {result: "done", known: true},
		"it failed":                 {result: "failed", known: true, bad: true},
		"systemd refused":           {err: refused{errors.New("no")}, known: true, bad: true},
		"another process has asked": {err: exists},
		"the connection was lost":   {err: errLost},
	} {
		t.Run(name, func(t *testing.T) {
			if why, known := answerOf("microvm-shutdown", test.result, test.err); known != test.known || (why != nil) != test.bad {
				t.Errorf("%v, %v", why, known)
			}
		})
	}
}

// How a job has ended whose end nobody told, because the connection was lost.
func TestJobIsJudgedByItsUnit(t *testing.T) {
	unit := func(active, result, invocation string) Unit {
		return Unit{UnitState: hostapi.UnitState{LoadState: "loaded", ActiveState: active, Result: result, InvocationID: invocation}}
	}
	before := unit("active", "success", "1")
	for name, test := range map[string]struct {
		stops  bool
		now    Unit
		result string
		err    error
	}{
		"stopped":                 {stops: true, now: unit("inactive", "success", ""), result: "done"},
		"stopped by force":        {stops: true, now: unit("failed", "timeout", ""), result: "done"},
		"not told to stop":        {stops: true, now: before, err: errNotQueued},
		"restarted":               {now: unit("active", "success", "2"), result: "done"},
		"not told to restart":     {now: before, err: errNotQueued},
		"restarted, and ended":    {now: unit("inactive", "success", "2"), result: "done"},
		"restarted, and failed":   {now: unit("failed", "exit-code", "2"), result: "failed"},
		"is started again in 5 s": {now: unit("activating", "exit-code", "2"), result: "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			if result, err := (job{stops: test.stops}).judge(before, test.now); result != test.result || !errors.Is(err, test.err) {
				t.Errorf("%q, %v", result, err)
			}
		})
	}
}

// A guard that is killed again and again is started again for ever.
func TestTransientUnitsHaveNoStartLimit(t *testing.T) {
	p := map[string]any{}
	for _, property := range (TransientUnit{Argv: []string{"/bin/true"}}).properties() {
		p[property.Name] = property.Value.Value()
	}
	if p["StartLimitIntervalUSec"] != uint64(0) || p["RestartUSec"] != uint64(1_000_000) || p["Restart"] != "on-abnormal" {
		t.Errorf("%v", p)
	}
}

func TestReadinessBySdNotify(t *testing.T) {
	if ready := (Unit{notifies: notifies("notify")}); ready.settles() >= settleTime {
		t.Error("a unit that has said that it is ready is waited for")
	}
	if simple := (Unit{notifies: notifies("simple")}); simple.settles() != settleTime {
		t.Error("a simple unit is ready as soon as it is forked")
	}
}
