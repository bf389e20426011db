package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// One Debian root file system serves all machines and, over 9p, the guests.
const rootfsSuite = "trixie"

const rootfsPackages = "systemd,systemd-sysv,dbus,openssh-server,openssh-client,nix-bin,nix-setup-systemd," +
	"qemu-system-x86,qemu-utils,virtiofsd,socat,iproute2,iputils-ping,curl,git,ca-certificates," +
	"busybox-static,linux-image-amd64,kmod,procps,sudo,jq,less,cpio," +
	"bash-completion,zsh,fish,man-db" // completion and manual pages are tried in real shells

//go:embed rootfs/customise.sh
var customiseRootfs string

// ensureRootfs returns the cached tree of the recipe, making it if it is not
// there. A tree gets its name only when it is complete; trees of other recipes
// and what killed runs left are removed.
func (l *Lab) ensureRootfs(ctx context.Context) (string, error) {
	sum := sha256.Sum256([]byte(rootfsSuite + "\n" + rootfsPackages + "\n" + customiseRootfs))
	dir := filepath.Join(l.cache, "rootfs-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := l.lockCache(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil // another lab has made it meanwhile
	}
	begin := time.Now()
	l.logf("making the root file system (Debian %s; about a minute, once)", rootfsSuite)
	tmp := dir + ".tmp"
	if err := removeTree(tmp); err != nil {
		return "", err
	}
	if err := l.bootstrap(ctx, tmp, "minbase", rootfsSuite, rootfsPackages, customiseRootfs); err != nil {
		return "", errors.Join(err, removeTree(tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", err
	}
	l.logf("root file system made in %s", time.Since(begin).Round(time.Second))
	return dir, l.pruneRootfs(dir)
}

// bootstrap fills dir by mmdebstrap with packages of suite; customise is a
// shell script that gets dir as $1.
func (l *Lab) bootstrap(ctx context.Context, dir, variant, suite, packages, customise string) error {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return err
	}
	// All that mmdebstrap strews goes with this directory, if need be next time.
	work := dir + ".work"
	if err := removeTree(work); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	defer func() { _ = removeTree(work) }()
	script := filepath.Join(work, "customise.sh")
	if err := os.WriteFile(script, []byte(customise), 0o644); err != nil {
		return err
	}
	// A mount and a pid namespace of its own: however this ends, no mount and
	// no process of the bootstrap is left behind.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"mmdebstrap", "--mode=root", "--variant="+variant, "--include="+packages,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--customize-hook=sh "+script+` "$1"`)
	if suite == string(NewNix) {
		// Its index is valid for a week, and a mirror may be older.
		cmd.Args = append(cmd.Args, `--aptopt=Acquire::Check-Valid-Until "false"`)
	}
	cmd.Args = append(cmd.Args, suite, dir, mirror)
	// Machines boot without Debian's initramfs, guests with the lab's own.
	cmd.Env = append(os.Environ(), "INITRD=No", "TMPDIR="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	end := &tail{limit: 4096}
	cmd.Stdout, cmd.Stderr = end, end
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", err, end)
	}
	return nil
}

// debianMirror is where this machine gets Debian from, as its own apt says.
func debianMirror(ctx context.Context) (string, error) {
	out, err := run(ctx, "apt-get", "indextargets", "--format", "$(SITE) $(LABEL) $(RELEASE)", "Created-By: Packages")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 3 && f[1] == "Debian" && !strings.Contains(f[2], "-") {
			return f[0], nil
		}
	}
	return "", errors.New("apt on this machine knows no Debian mirror")
}

func (l *Lab) pruneRootfs(keep string) error {
	trees, err := filepath.Glob(filepath.Join(l.cache, "rootfs-*"))
	if err != nil {
		return err
	}
	for _, t := range trees {
		if t != keep && !mountedBelow(t) {
			err = errors.Join(err, removeTree(t))
		}
	}
	return err
}

// removeTree removes dir without crossing into another file system, so that a
// mount overlooked inside never costs its content.
func removeTree(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := run(context.Background(), "rm", "-rf", "--one-file-system", dir)
	return err
}
