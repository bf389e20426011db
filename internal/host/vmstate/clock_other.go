//go:build !linux

package vmstate

import "time"

// sinceBoot: only Linux is a host.
func sinceBoot() time.Duration { return 0 }
