package virtiofs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ferry/internal/hostapi"
)

// Run becomes the runner's `virtiofsd-run`, in a mount namespace of its own where
// nothing of the state directory is what user microvm could have put there. It
// returns only if that fails.
func (r Room) Run() error {
	runner, err := r.booted()
	if err != nil {
		return err
	}
	all, err := shares(runner)
	if err != nil {
		return err
	}
	if _, err := r.sockets(all); err != nil {
		return err
	}
	sources, err := r.sources(all)
	if err != nil {
		return err
	}
	if err := r.protected(); err != nil {
		return err
	}
	runtime.LockOSThread() // the namespace is this thread's, and it is the one that becomes virtiofsd-run
	if err := r.enter(sources); err != nil {
		return fmt.Errorf("making a place for virtiofsd: %w", err)
	}
	program := filepath.Join(runner, "bin", "virtiofsd-run")
	return fmt.Errorf("running %s: %w", program, syscall.Exec(program, []string{program}, os.Environ()))
}

// protected refuses a directory of root's that others can write to.
func (r Room) protected() error {
	var st unix.Stat_t
	if err := unix.Lstat(r.own(), &st); err != nil {
		return &os.PathError{Op: "stat", Path: r.own(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != r.Owner || st.Mode&0o022 != 0 {
		return hostapi.Refuse(r.own()+" is not a directory of root's alone", "remove it, then start the VM")
	}
	return nil
}

// enter covers the state directory with an empty one, in which only root's own
// directory and the sources are. The sources are opened before, since nothing
// there is found by its name afterwards; and in the new namespace, since only its
// mounts can be bound there.
func (r Room) enter(sources []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a mount namespace: %w", err)
	}
	// What the machine mounts later is seen, and nothing of this is seen outside.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keeping mounts to itself: %w", err)
	}
	opened := map[string]int{}
	for _, s := range sources {
		fd, err := r.openSource(s)
		if err != nil {
			return fmt.Errorf("the share of %s: %w", filepath.Join(r.StateDir, s), err)
		}
		defer unix.Close(fd)
		opened[s] = fd
	}
	if err := unix.Mount("tmpfs", r.StateDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("covering %s: %w", r.StateDir, err)
	}
	if err := bind(r.own(), r.dir(), 0); err != nil {
		return err
	}
	for _, s := range sources {
		if err := bind(fmt.Sprintf("/proc/self/fd/%d", opened[s]), filepath.Join(r.StateDir, s), unix.MS_REC); err != nil {
			return err
		}
	}
	return unix.Chdir(r.dir())
}

func bind(from, to string, flags uintptr) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("showing %s: %w", to, err)
	}
	return nil
}

var errLink = errors.New("a link leads there, which user microvm could have made (name what it leads to as the source)")

// openSource opens a directory below the state directory, whose path has no link
// in it. Which one it is cannot change any more.
func (r Room) openSource(rel string) (int, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(r.StateDir, unix.O_PATH|unix.O_CLOEXEC, 0)
	for _, name := range strings.Split(rel, "/") {
		if err != nil {
			return -1, err
		}
		parent := fd
		fd, err = unix.Openat(parent, name, flags, 0)
		_ = unix.Close(parent)
		if err == nil {
			err = isDir(fd)
		}
	}
	return fd, err
}

// isDir closes what is not a directory.
func isDir(fd int) error {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK:
		err = errLink
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return err
}
