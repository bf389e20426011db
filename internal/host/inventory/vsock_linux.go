package inventory

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// dialVsock connects through the kernel; see vsock(7). The kernel gives up
// after two seconds.
func dialVsock(cid, port uint32) (io.ReadWriteCloser, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("this machine has no vsock: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connecting to port %d of the guest with CID %d: %w", port, cid, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that Close ends a Read
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connecting over vsock: %w", err)
	}
	return vsockFile{os.NewFile(uintptr(fd), "vsock")}, nil
}

// vsockFile is a vsock connection whose writing side can end first.
type vsockFile struct{ *os.File }

func (f vsockFile) CloseWrite() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = unix.Shutdown(int(fd), unix.SHUT_WR) }); err != nil {
		return err
	}
	return serr
}

// openPath opens what is at path itself, no link's target, and only to name it.
func openPath(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
