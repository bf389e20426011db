package examine

import (
	"time"

	"golang.org/x/sys/unix"
)

// changed is when a path was last changed by name, owner or permissions. The time of
// its content is the same for all of the store.
func changed(path string) (time.Time, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return time.Time{}, err
	}
	return time.Unix(st.Ctim.Unix()), nil
}
