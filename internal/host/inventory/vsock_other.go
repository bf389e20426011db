//go:build !linux

package inventory

import (
	"errors"
	"io"
	"os"
)

// Hosts run Linux; an operator may not.

func dialVsock(cid, port uint32) (io.ReadWriteCloser, error) {
	return nil, errors.ErrUnsupported
}

func openPath(string) (*os.File, error) { return nil, errors.ErrUnsupported }
