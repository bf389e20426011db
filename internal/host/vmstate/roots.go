package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"ferry/internal/microvm"
)

// Roots are a VM's garbage collector roots: those that ferry makes, and those to
// the links of its directory.
type Roots struct{ vm VM }

// Path is the directory of those that ferry makes.
func (r Roots) Path() string { return filepath.Join(r.vm.layout.GCRoots, "ferry", string(r.vm.name)) }

// Pending is the root of the runner that is being deployed, for Nix to make: a
// collector at work learns of a root that Nix makes.
func (r Roots) Pending() string { return filepath.Join(r.Path(), "pending") }

// Before is the root of what may be started again by an undo, for Nix to make;
// further ones have a number behind it.
func (r Roots) Before() string { return filepath.Join(r.Path(), "before") }

// isPending: a root that is there for as long as a deployment.
func isPending(name string) bool {
	return name == "pending" || name == "before" || strings.HasPrefix(name, "pending-drv-") || strings.HasPrefix(name, "before-")
}

// Expect points roots at what a deployment is about to copy and build. They may
// dangle: what arrives later is kept from the moment it is there.
func (r Roots) Expect(runner microvm.StorePath, drvs []microvm.StorePath) error {
	if err := r.make(); err != nil {
		return err
	}
	if err := r.DropPending(); err != nil {
		return err
	}
	if runner != "" {
		if err := replaceLink(r.Path(), "pending", string(runner)); err != nil {
			return err
		}
	}
	for i, d := range drvs {
		if err := r.expectDrv(strconv.Itoa(i), d); err != nil {
			return err
		}
	}
	return nil
}

// ExpectEvaluated roots a derivation that was evaluated on the host.
func (r Roots) ExpectEvaluated(drv microvm.StorePath) error { return r.expectDrv("evaluated", drv) }

// ExpectToken roots a file of the host's making, like a derivation.
func (r Roots) ExpectToken(token microvm.StorePath) error { return r.expectDrv("token", token) }

func (r Roots) expectDrv(which string, drv microvm.StorePath) error {
	return replaceLink(r.Path(), "pending-drv-"+which, string(drv))
}

func (r Roots) make() error {
	if err := os.MkdirAll(r.Path(), 0o755); err != nil {
		return fmt.Errorf("making the directory of GC roots: %w", err)
	}
	return nil
}

// DropPending removes what Expect made, and Before.
func (r Roots) DropPending() error {
	entries, err := os.ReadDir(r.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isPending(e.Name()) {
			if err := removeLink(filepath.Join(r.Path(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// DropEmpty removes the directory of a VM's roots where none is left in it.
func (r Roots) DropEmpty() error {
	err := os.Remove(r.Path())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

// remove removes every GC root that ferry or microvm.nix made for the VM.
func (r Roots) remove() error {
	var errs []error
	for _, root := range append(r.ofLinks(), r.auto()...) {
		errs = append(errs, removeLink(root))
	}
	return errors.Join(append(errs, os.RemoveAll(r.Path()))...)
}

// auto are the links that Nix has made to the VM's generations and roots. Its
// collector would remove them as well, once they dangle.
func (r Roots) auto() []string {
	dir := filepath.Join(r.vm.layout.GCRoots, "auto")
	entries, _ := os.ReadDir(dir) // none: Nix made no such link yet
	var roots []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil && slices.Contains([]string{r.vm.Profile().dir(), r.Path()}, filepath.Dir(target)) {
			roots = append(roots, filepath.Join(dir, e.Name()))
		}
	}
	return roots
}

// ofLinks are the roots to the links of the VM's directory.
func (r Roots) ofLinks() []string {
	var roots []string
	for name := range r.vm.linkRoots() {
		roots = append(roots, filepath.Join(r.vm.layout.MicrovmRoots(), name))
	}
	slices.Sort(roots)
	return roots
}
