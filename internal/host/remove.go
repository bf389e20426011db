package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// layoutEntries are the entries of a VM's directory that the layout makes.
func layoutEntries() []string { return []string{"current", "old", "booted", "flake"} }

// LookRemove tells what Remove would remove. It changes nothing. A VM that the
// host itself declares is refused; so is one of which nothing is there.
func (s *Server) LookRemove(ctx context.Context, n microvm.Name) (*hostapi.Removal, error) {
	vm, err := s.locate(ctx, n)
	if err != nil {
		return nil, err
	}
	r := &hostapi.Removal{VM: n, Running: !vm.Unit.Stopped(), Data: []hostapi.DataFile{}}
	dir, err := s.layout.openVMDir(n)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	if dir != nil {
		r.Directory = s.layout.vmDir(n)
		if r.Data, err = dir.data(); err != nil {
			return nil, err
		}
	} else if len(s.layout.leftovers(n)) == 0 {
		return nil, s.noVM(n)
	}
	return r, nil
}

// data lists what of a VM's directory is neither the layout's nor of the kind
// that only a running VM needs (sockets and pipes).
func (d *vmDir) data() ([]hostapi.DataFile, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", d.root.Name(), err)
	}
	files := []hostapi.DataFile{}
	for _, e := range entries {
		if slices.Contains(layoutEntries(), e.Name()) || e.Type()&(fs.ModeSocket|fs.ModeNamedPipe) != 0 {
			continue
		}
		f := hostapi.DataFile{Name: e.Name(), Directory: e.IsDir()}
		_ = fs.WalkDir(d.root.FS(), e.Name(), func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				return nil // gone meanwhile, or unreadable: it is only a size
			}
			if fi, err := e.Info(); err == nil {
				f.Bytes += diskUsage(fi)
			}
			return nil
		})
		files = append(files, f)
	}
	return files, nil
}

// Remove stops a VM and removes everything of it: links, GC roots, generations,
// ferry's notes, its place among what starts with the machine and, without
// keepData, its directory with all that is in it. What an interrupted run has
// left, the next one removes.
func (s *Server) Remove(ctx context.Context, n microvm.Name, claim hostapi.Claim, keepData bool, log func(string)) (*hostapi.Removal, error) {
	if _, err := s.LookRemove(ctx, n); err != nil {
		return nil, err
	}
	l := s.layout
	lock, _, err := l.waitVM(ctx, n, hostapi.Lock{By: claim.By, Deployment: "remove", Since: time.Now().UTC()}, claim.Wait, log)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	r, err := s.LookRemove(ctx, n)
	if err != nil {
		return nil, err
	}
	if mounted := mountsBelow(l.vmDir(n)); len(mounted) > 0 && !keepData {
		return nil, hostapi.Refuse(fmt.Sprintf("something is mounted at %s", strings.Join(mounted, ", ")), "unmount it first, so that nothing of it is deleted, or use --keep-data")
	}
	r.Kept = keepData
	if r.Running {
		ended, err := s.units.Stop(ctx, n, log)
		if err != nil {
			return nil, fmt.Errorf("removing %s: %w", n, err)
		}
		if ended.Result == "timeout" {
			log("the guest did not shut down in time and was killed")
		}
	}
	// From here on half a VM would be left.
	ctx = context.WithoutCancel(ctx)
	if err := s.units.Disable(ctx, n); err != nil {
		log(err.Error()) // a host whose /etc its own configuration makes
	}
	err = errors.Join(l.removeFiles(n, keepData), l.removeRoots(n), os.RemoveAll(filepath.Dir(l.profile(n))), os.RemoveAll(l.libDir(n)))
	if err != nil {
		return nil, fmt.Errorf("removing %s: %w", n, err)
	}
	r.Removed = true
	// Others that wait for this lock find that its file is gone, and make anew.
	return r, os.Remove(l.lockFile(n))
}

// removeFiles removes the VM's directory, or with keepData the layout's entries
// in it; a directory that is empty then goes as well. Nothing follows a link.
func (l Layout) removeFiles(n microvm.Name, keepData bool) error {
	state, err := os.OpenRoot(l.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer state.Close()
	if !keepData {
		return state.RemoveAll(string(n))
	}
	for _, name := range layoutEntries() {
		if err := state.Remove(filepath.Join(string(n), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_ = state.Remove(string(n)) // fails where data is in it
	return nil
}

// removeRoots removes every GC root that ferry or microvm.nix made for the VM.
func (l Layout) removeRoots(n microvm.Name) error {
	var errs []error
	for _, root := range append(l.vmRoots(n), l.autoRoots(n)...) {
		errs = append(errs, removeLink(root))
	}
	return errors.Join(append(errs, os.RemoveAll(l.ferryRoots(n)))...)
}

// autoRoots are the links that Nix has made to the VM's generations and roots.
// Its collector would remove them as well, once they dangle.
func (l Layout) autoRoots(n microvm.Name) []string {
	dir := filepath.Join(l.GCRoots, "auto")
	entries, _ := os.ReadDir(dir) // none: Nix made no such link yet
	var roots []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil && slices.Contains([]string{filepath.Dir(l.profile(n)), l.ferryRoots(n)}, filepath.Dir(target)) {
			roots = append(roots, filepath.Join(dir, e.Name()))
		}
	}
	return roots
}

func (l Layout) vmRoots(n microvm.Name) []string {
	var roots []string
	for _, name := range []string{string(n), "booted-" + string(n), "old-" + string(n)} {
		roots = append(roots, filepath.Join(l.microvmRoots(), name))
	}
	return roots
}

// leftovers are the paths outside the VM's directory that an earlier removal,
// or somebody who deleted only that directory, has left.
func (l Layout) leftovers(n microvm.Name) []string {
	var left []string
	autostart := filepath.Join(l.autostartDir(), n.Unit())
	for _, p := range append(l.vmRoots(n), l.ferryRoots(n), filepath.Dir(l.profile(n)), l.libDir(n), autostart) {
		if _, err := os.Lstat(p); err == nil {
			left = append(left, p)
		}
	}
	return left
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
