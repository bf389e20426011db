package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay mounts lower, read-only, below dir/upper at dir/root. It does nothing
// where that is mounted already.
func overlay(lower, dir string) error {
	for _, sub := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(dir+"/"+sub, 0o755); err != nil {
			return err
		}
	}
	target := dir + "/root"
	if slices.Contains(mountsBelow(target), target) {
		return nil
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, dir, dir)
	if err := unix.Mount("overlay", target, "overlay", 0, opts); err != nil {
		return fmt.Errorf("mounting the overlay %s: %w", target, err)
	}
	// Whatever is mounted inside must not show up elsewhere on this machine.
	return unix.Mount("", target, "", unix.MS_PRIVATE, "")
}

// enoughMemory is what must be available for a lab in memory, in KiB: the lab
// itself, and what its processes and guests need.
const enoughMemory = 6 << 20

// inMemory puts the lab's root on a file system in memory, if there is enough.
func (l *Lab) inMemory() error {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); err == nil && kib < enoughMemory {
			return nil
		}
	}
	if err := os.MkdirAll(l.root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", l.root, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting a file system in memory at %s: %w", l.root, err)
	}
	return unix.Mount("", l.root, "", unix.MS_PRIVATE, "")
}

// mountsBelow lists the mount points at dir and below, innermost last.
func mountsBelow(dir string) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var points []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			points = append(points, f[4])
		}
	}
	return points
}

// mountedBelow reports whether an overlay of this machine lies on dir.
func mountedBelow(dir string) bool {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	return strings.Contains(string(b), "lowerdir="+dir+",")
}

// unmountBelow unmounts everything at dir and below.
func unmountBelow(dir string) error {
	var errs []error
	points := mountsBelow(dir)
	slices.Reverse(points)
	for _, p := range points {
		err := unix.Unmount(p, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			// Somebody's shell stands in it: out of sight at least.
			err = unix.Unmount(p, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
