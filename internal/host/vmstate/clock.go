package vmstate

import (
	"os"
	"strings"
	"time"
)

// Moment is a point in time on a host, as notes keep it: people set the clock on
// the wall forward and back, but never the one that counts since the boot.
type Moment struct {
	Boot  string        // names the boot; empty where that can't be told
	Since time.Duration // since then, also while the machine slept
	Wall  time.Time
}

// Now is this moment.
func (l Layout) Now() Moment {
	if l.Clock != nil {
		return l.Clock()
	}
	return Moment{Boot: bootID(), Since: sinceBoot(), Wall: time.Now()}
}

// bootID is what the kernel calls this boot (random(4)).
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) > 64 {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// wrote reports whether a file was written in the boot of this moment, by its
// time on the wall.
func (m Moment) wrote(written time.Time) bool {
	return m.Boot != "" && written.After(m.Wall.Add(-m.Since))
}
