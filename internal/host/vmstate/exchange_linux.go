package vmstate

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// swapNames makes two entries of a directory change places, in one step
// (renameat2(2), RENAME_EXCHANGE). The error is errors.ErrUnsupported where the
// file system can't do that.
func swapNames(dir *os.File, a, b string) error {
	return renameat2(dir, a, b, unix.RENAME_EXCHANGE)
}

// renameNew renames an entry of a directory unless there is one of the new name
// (RENAME_NOREPLACE): then the error is fs.ErrExist.
func renameNew(dir *os.File, from, to string) error {
	return renameat2(dir, from, to, unix.RENAME_NOREPLACE)
}

func renameat2(dir *os.File, from, to string, flags uint) error {
	fd := int(dir.Fd())
	err := unix.Renameat2(fd, from, fd, to, flags)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return &os.LinkError{Op: "renameat2", Old: from, New: to, Err: err}
	}
	return nil
}
