package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// rootPending points gcroots/ferry/NAME/pending* at what a deployment is about
// to copy and build. The links may dangle: what arrives later is kept from the
// moment it is there.
func (l Layout) rootPending(n microvm.Name, runner microvm.StorePath, drvs []microvm.StorePath) error {
	dir := l.ferryRoots(n)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of GC roots: %w", err)
	}
	if err := l.dropPending(n); err != nil {
		return err
	}
	if runner != "" {
		if err := replaceLink(dir, "pending", string(runner)); err != nil {
			return err
		}
	}
	for i, d := range drvs {
		if err := replaceLink(dir, "pending-drv-"+strconv.Itoa(i), string(d)); err != nil {
			return err
		}
	}
	return nil
}

// dropPending removes the roots that rootPending made.
func (l Layout) dropPending(n microvm.Name) error {
	entries, err := os.ReadDir(l.ferryRoots(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "pending" || strings.HasPrefix(e.Name(), "pending-drv-") {
			if err := removeLink(filepath.Join(l.ferryRoots(n), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropEmptyRoots removes the directory of a VM's roots where none is left in it.
func (l Layout) dropEmptyRoots(n microvm.Name) error {
	err := os.Remove(l.ferryRoots(n))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

// rootRunning keeps the system that a guest runs, and notes it.
func (s *Server) rootRunning(ctx context.Context, n microvm.Name, note runningNote) error {
	dir := s.layout.ferryRoots(n)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of GC roots: %w", err)
	}
	if err := s.nix.AddRoot(ctx, filepath.Join(dir, "running"), note.System); err != nil {
		return fmt.Errorf("keeping what the guest runs: %w", err)
	}
	return s.layout.writeNote(n, noteRunning, note)
}

// dropRunning forgets a live switch once the VM boots what is installed.
func (l Layout) dropRunning(n microvm.Name) error {
	return errors.Join(
		removeLink(filepath.Join(l.ferryRoots(n), "running")),
		l.dropNote(n, noteRunning),
		l.settled(n),
	)
}

// ensureVM makes the VM's directory and the GC roots to its links, all before
// the first link: nothing is ever current without being rooted.
func (l Layout) ensureVM(n microvm.Name) error {
	if err := os.MkdirAll(l.microvmRoots(), 0o755); err != nil {
		return fmt.Errorf("making the directory of GC roots: %w", err)
	}
	for root, link := range map[string]string{string(n): "current", "booted-" + string(n): "booted", "old-" + string(n): "old"} {
		if err := replaceLink(l.microvmRoots(), root, filepath.Join(l.vmDir(n), link)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(l.StateDir, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	return l.makeVMDir(n)
}

// makeVMDir makes an absent VM directory, root:kvm 1775: the hypervisor's user
// can make files in it but not touch root's.
func (l Layout) makeVMDir(n microvm.Name) error {
	if _, err := os.Lstat(l.vmDir(n)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	g, err := user.LookupGroup(l.Group)
	if err != nil {
		return hostapi.Refuse("this machine has no group "+l.Group, "import microvm.nixosModules.host, or make the user microvm with that group")
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("group %s: %w", l.Group, err)
	}
	parent, err := os.OpenRoot(l.StateDir)
	if err != nil {
		return err
	}
	defer parent.Close()
	tmp := tempName(string(n))
	if err := parent.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("making the VM's directory: %w", err)
	}
	err = parent.Lchown(tmp, l.Owner, gid)
	if err == nil {
		err = parent.Chmod(tmp, 0o775|fs.ModeSticky)
	}
	if err == nil {
		err = parent.Rename(tmp, string(n))
	}
	if err != nil {
		_ = parent.Remove(tmp)
		return fmt.Errorf("making the VM's directory: %w", err)
	}
	return syncDir(parent)
}

// install makes runner the VM's current one: record, generation, `old`,
// `current`, `flake`, in this order, so that a crash between any two leaves
// `current` a valid, rooted runner and running again converges. Installing what
// is current already moves nothing, so the way back is never lost.
func (s *Server) install(ctx context.Context, req hostapi.CommitRequest) error {
	l := s.layout
	if err := step.Do(step.Roots, func() error { return l.ensureVM(req.Name) }); err != nil {
		return err
	}
	dir, err := l.openVMDir(req.Name)
	if err != nil {
		return err
	}
	defer dir.close()
	previous, err := readRunnerLink(dir, "current")
	if err != nil {
		return err
	}
	if req.Record != nil {
		err := step.Do(step.Record, func() error { return l.writeNote(req.Name, recordName(req.Runner), req.Record) })
		if err != nil {
			return err
		}
	}
	if req.Install {
		if err := s.moveLinks(ctx, req, previous); err != nil {
			return err
		}
	}
	if req.UpdateFlake == "" {
		return nil
	}
	return step.Do(step.Flake, func() error {
		return writeFile(l.vmDir(req.Name), flakeFile, []byte(req.UpdateFlake), 0o644)
	})
}

// moveLinks makes the runner the newest generation, and `current`; what was
// current becomes `old`.
func (s *Server) moveLinks(ctx context.Context, req hostapi.CommitRequest, previous microvm.StorePath) error {
	l := s.layout
	moves := previous != req.Runner
	if moves || req.Generation != 0 {
		if err := step.Do(step.Profile, func() error { return s.moveProfile(ctx, req) }); err != nil {
			return err
		}
	}
	if !moves {
		return nil
	}
	if previous == "" {
		if err := l.writeNote(req.Name, noteToStart, time.Now()); err != nil {
			return err
		}
	} else if err := step.Do(step.Old, func() error { return replaceLink(l.vmDir(req.Name), "old", string(previous)) }); err != nil {
		return err
	}
	return step.Do(step.Current, func() error { return replaceLink(l.vmDir(req.Name), "current", string(req.Runner)) })
}

// generation is the number that the VM's profile points to; 0 where it has none.
func (l Layout) generation(n microvm.Name) int {
	target, err := os.Readlink(l.profile(n))
	if err != nil {
		return 0
	}
	var g int
	if _, err := fmt.Sscanf(filepath.Base(target), "runner-%d-link", &g); err != nil {
		return 0
	}
	return g
}
