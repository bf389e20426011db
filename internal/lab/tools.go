package lab

import (
	"context"
	"fmt"
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
