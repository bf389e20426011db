//go:build !linux

package systemd

import "errors"

// process is what only Linux has, where systemd is.
type process struct{ ended chan struct{} }

func openProcess(int) (*process, error) { return nil, errors.ErrUnsupported }

func (*process) end() error { return errors.ErrUnsupported }
func (*process) close()     {}
