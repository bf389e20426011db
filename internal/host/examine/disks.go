package examine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// maxMounts bounds what is read of the list of mounts, in bytes.
const maxMounts = 4 << 20

func (h Host) disks(context.Context) (func(*hostapi.Examined), error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	all := parseMounts(string(mounts[:min(len(mounts), maxMounts)]))
	var disks []hostapi.Disk
	for _, d := range []struct{ use, path string }{
		{"store", filepath.Join(h.Layout.Root, microvm.StoreDir)}, {"state", h.Layout.StateDir}, {"ferry", h.Layout.Lib},
	} {
		disks = append(disks, disk(d.use, d.path, all))
	}
	return func(e *hostapi.Examined) { e.Disks = disks }, nil
}

// disk is that of a directory, or of the nearest one above where it is not there yet.
func disk(use, path string, mounts []mount) hostapi.Disk {
	d := hostapi.Disk{Use: use, Path: path}
	for path != "/" {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
			break
		}
		path = filepath.Dir(path)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		d.Why = fmt.Sprintf("%s: %v", path, err)
		return d
	}
	d.Free, d.Size = uint64(fs.Bavail)*uint64(fs.Bsize), uint64(fs.Blocks)*uint64(fs.Bsize)
	d.FreeInodes, d.Inodes = uint64(fs.Ffree), uint64(fs.Files)
	if m := mountOf(path, mounts); m != nil {
		// NixOS mounts the store read-only over itself; its Nix knows a way.
		d.ReadOnly = m.diskReadOnly || m.readOnly && (use != "store" || m.at != microvm.StoreDir)
	}
	return d
}

// mount is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	at                     string
	readOnly, diskReadOnly bool
}

func parseMounts(list string) []mount {
	var mounts []mount
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(list) {
		left, right, ok := strings.Cut(line, " - ")
		fields, super := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 6 || len(super) < 3 {
			continue
		}
		mounts = append(mounts, mount{at: unescape.Replace(fields[4]), readOnly: hasOption(fields[5], "ro"), diskReadOnly: hasOption(super[2], "ro")})
	}
	return mounts
}

func hasOption(list, option string) bool {
	for o := range strings.SplitSeq(list, ",") {
		if o == option {
			return true
		}
	}
	return false
}

// mountOf is the mount that a path is on: the last of the nearest.
func mountOf(path string, mounts []mount) *mount {
	var nearest *mount
	for i, m := range mounts {
		if m.at != path && m.at != "/" && !strings.HasPrefix(path, m.at+"/") {
			continue
		}
		if nearest == nil || len(m.at) >= len(nearest.at) {
			nearest = &mounts[i]
		}
	}
	return nearest
}
