package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// process names a process for good: pids are used again, start times are not.
type process struct {
	pid   int
	start string // in clock ticks since this machine's boot
}

func (p process) alive() bool { return p.pid != 0 && startTime(p.pid) == p.start }

// startTime returns field 22 of /proc/PID/stat, empty for a process that is
// gone or only waits to be reaped.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}

// parentOfFirst returns the parent of pid, and whether pid is the first process
// of a pid namespace below this one.
func parentOfFirst(pid int) (ppid int, first bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case key == "PPid" && len(f) == 1:
			ppid, _ = strconv.Atoi(f[0])
		case key == "NSpid":
			first = len(f) == 2 && f[1] == "1"
		}
	}
	return ppid, first
}

func pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

func awaitGone(ctx context.Context, p process, limit time.Duration) error {
	return Await(ctx, limit, 20*time.Millisecond, func(context.Context) error {
		if p.alive() {
			return fmt.Errorf("process %d is still there", p.pid)
		}
		return nil
	})
}
