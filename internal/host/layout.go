package host

import (
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

func (l Layout) vmDir(n microvm.Name) string  { return filepath.Join(l.StateDir, string(n)) }
func (l Layout) libDir(n microvm.Name) string { return filepath.Join(l.Lib, "vms", string(n)) }
func (l Layout) lockFile(n microvm.Name) string {
	return filepath.Join(l.Lib, "locks", string(n))
}
func (l Layout) profile(n microvm.Name) string {
	return filepath.Join(l.Profiles, "ferry", string(n), "runner")
}
func (l Layout) ferryRoots(n microvm.Name) string {
	return filepath.Join(l.GCRoots, "ferry", string(n))
}
func (l Layout) microvmRoots() string { return filepath.Join(l.GCRoots, "microvm") }
