package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// installTools installs with apt-get what the lab needs of this machine and
// does not find. Debian 12 and newer have all of it.
func (l *Lab) installTools(ctx context.Context) error {
	tools := []struct{ program, pkg string }{
		{"mmdebstrap", "mmdebstrap"},
		{"systemd-nspawn", "systemd-container"},
		{"ip", "iproute2"},
		{"nsenter", "util-linux"},
		{"chroot", "coreutils"},
		{"strace", "strace"},
	}
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t.pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	l.logf("installing %v", missing)
	if _, err := run(ctx, "apt-get", "-q", "update"); err != nil {
		return fmt.Errorf("installing the lab's tools: %w", err)
	}
	args := append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", "install", "--no-install-recommends"}, missing...)
	if _, err := run(ctx, args...); err != nil {
		return fmt.Errorf("installing the lab's tools: %w", err)
	}
	return nil
}

// inotifyInstances is enough for several labs: each container takes some ten of
// root's instances, of which Linux has 128 by default.
const inotifyInstances = 1024

// raiseLimits lets several labs run side by side. It only ever raises, until the
// next boot of this machine. Where it may not, starting a container says what is
// used up.
func (l *Lab) raiseLimits() {
	const file = "/proc/sys/fs/inotify/max_user_instances"
	b, err := os.ReadFile(file)
	var now int
	if _, serr := fmt.Sscan(string(b), &now); err != nil || serr != nil || now >= inotifyInstances {
		return
	}
	if os.WriteFile(file, fmt.Append(nil, inotifyInstances), 0o644) == nil {
		l.logf("fs.inotify.max_user_instances raised from %d to %d, until this machine boots again", now, inotifyInstances)
	}
}
