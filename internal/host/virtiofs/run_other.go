//go:build !linux

package virtiofs

import "errors"

// Run is for hosts, which run Linux.
func (r Room) Run() error { return errors.ErrUnsupported }
