package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// start boots the container and waits until it can be used. The container is
// detached: it outlives this process.
func (m *Machine) start(ctx context.Context) error {
	if err := m.mount(); err != nil {
		return err
	}
	if err := m.provision(); err != nil {
		return fmt.Errorf("writing its files: %w", err)
	}
	// One that a killed `up` was about to start must not come in between.
	if err := m.lab.removeCgroups(ctx, m.Name); err != nil {
		return err
	}
	groups, err := m.makeCgroups()
	if err != nil {
		return err
	}
	// The shell moves itself into the machine's own control groups, which
	// nspawn then divides: several systemds in one group would kill each
	// other's processes.
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, g := range groups {
		fmt.Fprintf(&script, "echo $$ >%s/cgroup.procs\n", g)
	}
	script.WriteString(`exec "$@"`)
	nspawn := m.nspawnArgs()
	if m.kind == kindOperator {
		goes, err := goBinds(ctx)
		if err != nil {
			return err
		}
		nspawn = slices.Insert(nspawn, 1, goes...)
	}
	args := append([]string{"-c", script.String(), "sh", "nsenter", "--net=" + m.lab.netns()}, nspawn...)
	logFile, err := os.OpenFile(m.lab.path("log", m.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command("/bin/sh", args...) //nolint: outlives ctx on purpose
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-ended:
			cancel(errors.New("the container has ended"))
		case <-wctx.Done():
		}
	}()
	if err := m.waitReady(wctx); err != nil {
		log := m.logTail()
		if strings.Contains(log, "inotify") && strings.Contains(log, "Too many open files") {
			return errors.New("this machine's inotify instances are used up (sysctl fs.inotify.max_user_instances): end other labs or containers first")
		}
		return fmt.Errorf("%w\n%s", err, log)
	}
	return nil
}

// nspawnArgs is the command line of the machine's container. The --directory
// argument identifies it: findNspawn looks for it.
func (m *Machine) nspawnArgs() []string {
	args := []string{
		"systemd-nspawn", "--quiet", m.directoryArg(), "--machine=" + m.lab.id() + "-" + m.Name,
		"--hostname=" + m.Name, "--network-bridge=" + bridge, "--register=no", "--keep-unit",
		"--console=read-only", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--kill-signal=SIGRTMIN+3",
	}
	switch m.kind {
	case kindHost:
		args = append(args, "--bind=/dev/net/tun", "--bind-ro="+m.lab.path("guestroot", "root")+":/srv/debian")
	case kindGuest:
		args = append(args, "--bind-ro="+m.host.Path("/nix/store")+":/nix/store")
		if system, err := os.ReadFile(m.systemFile()); err == nil {
			return append(args, strings.TrimSpace(string(system))+"/init")
		}
	}
	return append(args, "--boot")
}

func (m *Machine) directoryArg() string { return "--directory=" + m.Path("") }

// findNspawn finds the nspawn process of this machine by its command line: that
// needs no record, which a crash could have prevented or left stale.
func (m *Machine) findNspawn() (process, bool) {
	for _, pid := range pids() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		if len(args) < 3 || filepath.Base(args[0]) != "systemd-nspawn" {
			continue
		}
		for _, a := range args {
			if a == m.directoryArg() {
				if p := (process{pid, startTime(pid)}); p.start != "" {
					return p, true
				}
			}
		}
	}
	return process{}, false
}

// leader is the container's first process, as this machine sees it.
func (m *Machine) leader() (process, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first.alive() {
		return m.first, true
	}
	nspawn, ok := m.findNspawn()
	if !ok {
		return process{}, false
	}
	for _, pid := range pids() {
		if ppid, first := parentOfFirst(pid); first && ppid == nspawn.pid {
			if p := (process{pid, startTime(pid)}); p.start != "" {
				m.first = p
				return p, true
			}
		}
	}
	return process{}, false
}

// Stop shuts the container down as a power button would, at most 60 s, and then
// kills it. A machine that does not run is no error.
func (m *Machine) Stop(ctx context.Context) error {
	p, ok := m.findNspawn()
	if !ok {
		return nil
	}
	// nspawn passes SIGTERM on as an orderly shutdown.
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping %s: %w", m.Name, err)
	}
	if err := awaitGone(ctx, p, time.Minute); err == nil {
		return m.cleanAfter()
	}
	return m.Kill(ctx)
}

// Kill ends the container at once, as a power cut would.
func (m *Machine) Kill(ctx context.Context) error {
	p, ok := m.findNspawn()
	if !ok {
		return m.cleanAfter()
	}
	// With the first process the kernel kills the whole pid namespace; nspawn
	// then tidies up by itself.
	if first, ok := m.leader(); ok {
		_ = syscall.Kill(first.pid, syscall.SIGKILL)
		if awaitGone(ctx, p, 10*time.Second) == nil {
			return m.cleanAfter()
		}
	}
	if p.alive() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	if err := awaitGone(ctx, p, 10*time.Second); err != nil {
		return fmt.Errorf("killing %s: %w", m.Name, err)
	}
	return m.cleanAfter()
}

// cleanAfter removes what nspawn leaves of a container that has ended.
func (m *Machine) cleanAfter() error {
	m.mu.Lock()
	m.first = process{}
	m.mu.Unlock()
	name := m.lab.id() + "-" + m.Name
	_ = os.Remove("/run/systemd/nspawn/propagate/" + name)
	_ = os.Remove("/run/systemd/nspawn/unix-export/" + name)
	var st syscall.Stat_t
	if syscall.Stat(m.Path(""), &st) == nil {
		_ = os.Remove(fmt.Sprintf("/run/systemd/nspawn/locks/inode-%d:%d", st.Dev, st.Ino))
	}
	return nil
}

// Start boots a stopped machine and returns when its systemd and sshd answer.
func (m *Machine) Start(ctx context.Context) error {
	if nspawn, there := m.findNspawn(); there {
		if m.Running() {
			return m.waitReady(ctx)
		}
		// Its container has ended, and it ends as well: after a reboot from inside.
		if err := awaitGone(ctx, nspawn, time.Minute); err != nil {
			return fmt.Errorf("waiting for the end of %s: %w", m.Name, err)
		}
	}
	if err := m.cleanAfter(); err != nil {
		return err
	}
	return m.start(ctx)
}

// Reboot is Stop and Start: nspawn here cannot reboot a container by itself.
func (m *Machine) Reboot(ctx context.Context) error {
	if err := m.Stop(ctx); err != nil {
		return err
	}
	return m.Start(ctx)
}

// waitReady returns when systemd has finished booting and sshd greets.
func (m *Machine) waitReady(ctx context.Context) error {
	err := Await(ctx, 2*time.Minute, 100*time.Millisecond, func(ctx context.Context) error {
		out, err := m.Output(ctx, "systemctl", "is-system-running")
		if out == "running" || out == "degraded" {
			return nil
		}
		return fmt.Errorf("systemd is not up: %s (%w)", out, err)
	})
	if err != nil {
		return err
	}
	return Await(ctx, 30*time.Second, 100*time.Millisecond, func(ctx context.Context) error {
		return m.lab.greets(ctx, m.Addr)
	})
}

// greets checks that an SSH server on addr, in the lab's network, says hello.
func (l *Lab) greets(ctx context.Context, addr string) error {
	script := `exec 3<>/dev/tcp/` + addr + `/22 && read -t 2 -r line <&3 && [ "${line#SSH-2.0}" != "$line" ]`
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+l.netns(), "bash", "-c", script)
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("no SSH server answers at %s: %w", addr, err)
	}
	return nil
}

func (m *Machine) logTail() string {
	b, err := os.ReadFile(m.lab.path("log", m.Name+".log"))
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-2000):])
}

// clear ends all of the lab and removes its root; it trusts no record.
func (l *Lab) clear(ctx context.Context) error {
	var errs []error
	for _, name := range l.machineDirs() {
		errs = append(errs, (&Machine{Name: name, lab: l}).Kill(ctx))
	}
	errs = append(errs, l.removeCgroups(ctx))
	for _, name := range l.machineDirs() {
		// Again: one may just have been starting.
		errs = append(errs, (&Machine{Name: name, lab: l}).cleanAfter())
	}
	errs = append(errs, unmountBelow(l.root))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return removeTree(l.root)
}

func (l *Lab) machineDirs() []string {
	entries, err := os.ReadDir(l.path("machines"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
