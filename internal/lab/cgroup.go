package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cgroupRoots are the hierarchies that systemd in a container needs a group of
// its own in: the unified one, and systemd's own where this machine has a mix
// of both versions.
func cgroupRoots() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var roots []string
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		f, t := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(t) < 3 || !strings.HasPrefix(f[4], "/sys/fs/cgroup") {
			continue
		}
		if t[0] == "cgroup2" || t[0] == "cgroup" && strings.Contains(t[2], "name=systemd") {
			roots = append(roots, f[4])
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("this machine has no cgroup hierarchy mounted below /sys/fs/cgroup")
	}
	return roots, nil
}

// makeCgroups makes the machine's groups and returns their directories.
func (m *Machine) makeCgroups() ([]string, error) {
	roots, err := cgroupRoots()
	if err != nil {
		return nil, err
	}
	for i, r := range roots {
		roots[i] = filepath.Join(r, m.lab.id(), m.Name)
		if err := os.MkdirAll(roots[i], 0o755); err != nil {
			return nil, fmt.Errorf("making its control group: %w", err)
		}
	}
	return roots, nil
}

// removeCgroups kills whatever still is in the lab's groups, or in those of one
// machine, and removes them.
func (l *Lab) removeCgroups(ctx context.Context, machine ...string) error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, r := range roots {
		top := filepath.Join(append([]string{r, l.id()}, machine...)...)
		err = errors.Join(err, Await(ctx, 10*time.Second, 20*time.Millisecond, func(context.Context) error {
			return removeCgroup(top)
		}))
	}
	return err
}

func removeCgroup(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs) // children first
	var errs []error
	for _, d := range dirs {
		procs, _ := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		for line := range strings.Lines(string(procs)) {
			var pid int
			if _, err := fmt.Sscan(line, &pid); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CPU is how much processor time all of the lab's containers have used so far, the
// guests of their hypervisors included (Linux, admin-guide/cgroup-v2: cpu.stat is
// there without the controller, too). Zero where this machine doesn't count it.
func (l *Lab) CPU() time.Duration {
	roots, err := cgroupRoots()
	if err != nil {
		return 0
	}
	for _, r := range roots {
		b, err := os.ReadFile(filepath.Join(r, l.id(), "cpu.stat"))
		var usec int64
		if err != nil {
			continue
		}
		if _, err := fmt.Sscanf(string(b), "usage_usec %d", &usec); err == nil {
			return time.Duration(usec) * time.Microsecond
		}
	}
	return 0
}
