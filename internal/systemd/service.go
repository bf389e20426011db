package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"ferry/internal/microvm"
)

// service is what of a VM's unit decides how it is stopped.
type service struct {
	pid              int // of its main process; 0: it has none
	user, group, dir string
	env              []string
	// waits: its stop command waits for the end of the main process.
	waits    bool
	restarts bool // also what ended by itself
	restart  time.Duration
	timeout  time.Duration // of a stop
}

// serviceOf reads systemd's properties of the unit.
func serviceOf(props map[string]any) service {
	str := func(k string) string { v, _ := props[k].(string); return v }
	span := func(k string) time.Duration {
		v, _ := props[k].(uint64)
		if v == 0 || v > uint64(longestStop.Microseconds()) { // none is all ones
			return longestStop
		}
		return time.Duration(v) * time.Microsecond
	}
	pid, _ := props["MainPID"].(uint32)
	v := service{
		pid: int(pid), user: str("User"), group: str("Group"), dir: str("WorkingDirectory"),
		restarts: str("Restart") != "no", timeout: span("TimeoutStopUSec"),
	}
	if wait, ok := props["RestartUSec"].(uint64); ok {
		v.restart = time.Duration(min(wait, uint64(longestStop.Microseconds()))) * time.Microsecond
	}
	v.env, _ = props["Environment"].([]string)
	v.waits = waitsForMain(props["ExecStop"])
	return v
}

// waitsForMain reports whether a stop command works on the main process, as those
// of ferry's units do; a mere call of the runner's script leaves it to that.
func waitsForMain(execStop any) bool {
	commands, _ := execStop.([][]any) // a(sasbttttuii): the program, its arguments, …
	for _, c := range commands {
		if len(c) < 2 {
			continue
		}
		argv, _ := c[1].([]string)
		if strings.Contains(strings.Join(argv, " "), "MAINPID") {
			return true
		}
	}
	return false
}

// shortRestart is how soon a unit may be started again after its end that nobody
// could stop it before.
const shortRestart = 2 * time.Second

// returnsAtOnce: a guest that shuts down comes back before its unit can be stopped.
func (v service) returnsAtOnce() bool { return v.restarts && v.restart < shortRestart }

// keptDown has systemd not start a unit again whose guest shuts down.
type keptDown struct {
	s    *Manager
	unit string
}

func (k *keptDown) file() string {
	return filepath.Join("/run/systemd/system", k.unit+".d", "90-ferry-stop.conf")
}

func (k *keptDown) hold(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(k.file()), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(k.file(), []byte("# until ferry has stopped it\n[Service]\nRestart=no\n"), 0o644); err != nil {
		return err
	}
	return k.s.Reload(ctx)
}

// release undoes hold, also that of a process that was cut off.
func (k *keptDown) release(ctx context.Context) error {
	switch err := os.Remove(k.file()); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	_ = os.Remove(filepath.Dir(k.file())) // others' files may be in it
	return k.s.Reload(ctx)
}

// ask runs the script that has a guest shut down, with an input that stays open
// until leave is called or this process ends. What came of it is told by answer.
func (s *Manager) ask(ctx context.Context, n microvm.Name, v service, script string) (answer <-chan error, leave func(), err error) {
	input, open, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	unit := fmt.Sprintf("ferry-shutdown-%s-%d.service", n, v.pid)
	j := transientJob(unit, v.shutdownProperties(n, script, input))
	j.once = true
	told := make(chan error, 1)
	go func() {
		defer input.Close()
		result, err := s.do(ctx, j)
		if err, known := answerOf(script, result, err); known {
			told <- err
		}
	}()
	return told, func() {
		_ = open.Close()
		cancel()
		// A script that waits for what does not come.
		_ = s.bus.call(context.WithoutCancel(ctx), func(c *dbus.Conn) error {
			_, err := c.StopUnitContext(context.WithoutCancel(ctx), unit, "replace", nil)
			return err
		})
	}, nil
}

// answerOf says why a guest was not asked, if it is known whether it was: one that
// a process asked which was cut off has to be waited for all the same.
func answerOf(script, result string, err error) (why error, known bool) {
	var no refused
	var answer godbus.Error
	switch {
	case errors.As(err, &answer) && answer.Name == "org.freedesktop.systemd1.UnitExists":
		return nil, false
	case errors.As(err, &no):
		return err, true
	case err != nil:
		return nil, false
	case result != "done":
		return fmt.Errorf("%s %s", script, result), true
	}
	return nil, true
}

func (v service) shutdownProperties(n microvm.Name, script string, input *os.File) []dbus.Property {
	p := []dbus.Property{
		dbus.PropDescription("ferry: have the guest " + string(n) + " shut down"),
		dbus.PropType("oneshot"),
		dbus.PropExecStart([]string{script}, false),
		{Name: "User", Value: godbus.MakeVariant(v.user)},
		{Name: "WorkingDirectory", Value: godbus.MakeVariant(v.dir)},
		{Name: "Environment", Value: godbus.MakeVariant(append(v.env[:len(v.env):len(v.env)], fmt.Sprintf("MAINPID=%d", v.pid)))},
		{Name: "StandardInputFileDescriptor", Value: godbus.MakeVariant(godbus.UnixFD(input.Fd()))},
		{Name: "TimeoutStartUSec", Value: usec(v.timeout + lastsGrace)},
		{Name: "TimeoutStopUSec", Value: usec(time.Second)},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}
	if v.group != "" {
		p = append(p, dbus.Property{Name: "Group", Value: godbus.MakeVariant(v.group)})
	}
	return p
}
