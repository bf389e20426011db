package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/microvm"
)

// Layout names every directory of the on-disk contract. Tests use other ones
// than DefaultLayout.
type Layout struct {
	StateDir string // where VMs live
	GCRoots  string // /nix/var/nix/gcroots
	Profiles string // /nix/var/nix/profiles
	Lib      string // ferry's own, 0700 root
	Units    string // where root's unit files are, /etc/systemd/system
	// Group may write in a VM's directory, where the hypervisor's user keeps its
	// volumes and sockets.
	Group string
	// Owner is the uid that VM directories and trusted links belong to: root's,
	// but in tests, which need not be root.
	Owner int
	// Root stands before every path of the store; empty but in tests.
	Root string
	// Clock is what time it is; nil but in tests: the kernel's.
	Clock func() Moment
}

// DefaultStateDir is microvm.nix's default of microvm.stateDir.
const DefaultStateDir = "/var/lib/microvms"

// DefaultLayout is the one microvm.nix and Nix use.
func DefaultLayout() Layout {
	return Layout{
		StateDir: DefaultStateDir,
		GCRoots:  "/nix/var/nix/gcroots",
		Profiles: "/nix/var/nix/profiles",
		Lib:      "/var/lib/ferry",
		Units:    "/etc/systemd/system",
		Group:    "kvm",
	}
}

// VM is the VM of that name, which need not be there.
func (l Layout) VM(n microvm.Name) VM { return VM{layout: l, name: n} }

// Names are the VMs that have a directory.
func (l Layout) Names() ([]microvm.Name, error) {
	entries, err := os.ReadDir(l.StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the VMs: %w", err)
	}
	var names []microvm.Name
	for _, e := range entries {
		if n, err := microvm.ParseName(e.Name()); err == nil && e.IsDir() {
			names = append(names, n)
		}
	}
	return names, nil
}

// Noted are the VMs of which ferry has notes.
func (l Layout) Noted() ([]VM, error) {
	entries, err := os.ReadDir(filepath.Join(l.Lib, "vms"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing ferry's notes: %w", err)
	}
	var vms []VM
	for _, e := range entries {
		if n, err := microvm.ParseName(e.Name()); err == nil {
			vms = append(vms, l.VM(n))
		}
	}
	return vms, nil
}

// Has reports whether the store has that path, by its file system.
func (l Layout) Has(p microvm.StorePath) bool {
	_, err := os.Lstat(filepath.Join(l.Root, string(p)))
	return p != "" && err == nil
}

// MicrovmRoots is where microvm.nix keeps the roots of all VMs.
func (l Layout) MicrovmRoots() string { return filepath.Join(l.GCRoots, "microvm") }
