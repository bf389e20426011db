package manage

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// LookRemove tells what Remove would remove. It changes nothing. A VM that the
// host itself declares is refused; so is one of which nothing is there.
func (m *Machine) LookRemove(ctx context.Context, n microvm.Name) (*hostapi.Removal, error) {
	vm, err := m.see.Locate(ctx, n)
	if err != nil {
		return nil, err
	}
	r := &hostapi.Removal{VM: n, Running: !vm.Unit.Stopped(), Data: []hostapi.DataFile{}}
	disk := m.see.VM(n)
	dir, err := disk.Open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if dir != nil {
		r.Directory = disk.Path()
		if r.Data, err = dir.Data(); err != nil {
			return nil, err
		}
	} else if len(disk.Leftovers()) == 0 {
		return nil, m.see.NoVM(n)
	}
	return r, nil
}

// Remove stops a VM and removes everything of it: links, GC roots, generations,
// ferry's notes, its place among what starts with the machine and, without
// keepData, its directory with all that is in it. What an interrupted run has
// left, the next one removes.
func (m *Machine) Remove(ctx context.Context, n microvm.Name, claim hostapi.Claim, keepData bool, log func(string)) (*hostapi.Removal, error) {
	if _, err := m.LookRemove(ctx, n); err != nil {
		return nil, err
	}
	disk := m.see.VM(n)
	lock, _, err := disk.Lock().Wait(ctx, hostapi.Lock{By: claim.By, Deployment: "remove", Since: time.Now().UTC()}, claim.Wait, log)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	r, err := m.LookRemove(ctx, n)
	if err != nil {
		return nil, err
	}
	if mounted := mountsBelow(disk.Path()); len(mounted) > 0 && !keepData {
		return nil, hostapi.Refuse(fmt.Sprintf("something is mounted at %s", strings.Join(mounted, ", ")), "unmount it first, so that nothing of it is deleted, or use --keep-data")
	}
	if err := m.settle(ctx, n, log); err != nil {
		log("an earlier deployment could not be settled: " + err.Error())
	}
	r.Kept = keepData
	if r.Running {
		ended, err := m.units.Stop(ctx, n, log)
		if err != nil {
			return nil, fmt.Errorf("removing %s: %w", n, err)
		}
		if ended.Result == "timeout" {
			log("the guest did not shut down in time and was killed")
		}
	}
	// From here on half a VM would be left.
	ctx = context.WithoutCancel(ctx)
	if err := m.units.Disable(ctx, n); err != nil {
		log(err.Error()) // a host whose /etc its own configuration makes
	}
	if err := disk.Remove(keepData); err != nil {
		return nil, fmt.Errorf("removing %s: %w", n, err)
	}
	r.Removed = true
	return r, lock.Remove()
}

// mountsBelow lists what is mounted at dir or below it (proc_pid_mountinfo(5):
// the mount point is the fifth field, with white space in octal).
func mountsBelow(dir string) []string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	octal := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	var found []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) < 5 {
			continue
		}
		at := octal.Replace(fields[4])
		if at == dir || strings.HasPrefix(at, dir+"/") {
			found = append(found, at)
		}
	}
	return found
}
