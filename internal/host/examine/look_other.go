//go:build !linux

package examine

import (
	"errors"
	"time"
)

func changed(string) (time.Time, error) { return time.Time{}, errors.ErrUnsupported }
