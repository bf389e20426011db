//go:build !linux

package vmstate

import (
	"errors"
	"os"
)

// Hosts are Linux; only the operator's side is built for others.

func swapNames(*os.File, string, string) error { return errors.ErrUnsupported }

func renameNew(*os.File, string, string) error { return errors.ErrUnsupported }
