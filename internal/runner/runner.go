// Package runner reads a runner in the store: the package that `current` points to,
// of microvm.nix's shape or anybody's. It owns what its files mean and what of them is
// hardware; it must not know of hosts, links or deployments.
package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	maxScript  = 1 << 20 // bytes of one script of a runner
	maxRefFile = 256 << 10
)

// Runner is an opened runner package in the store.
type Runner struct {
	root    string // before every path of the store; empty but in tests
	Path    microvm.StorePath
	System  microvm.StorePath // empty where nothing tells; not always in the host's store
	RegInfo string            // empty where the VM registers no closure at boot
}

// At is a runner in the store below root (empty but in tests), of which nothing has
// been read.
func At(root string, p microvm.StorePath) Runner { return Runner{root: root, Path: p} }

// Open reads what a runner says of itself. Only bin/microvm-run must be
// there: that is what the units and microvm.nix's documentation require.
func Open(root string, p microvm.StorePath) (Runner, error) {
	r := Runner{root: root, Path: p}
	run, err := ReadBounded(r.File("bin/microvm-run"), maxScript)
	if err != nil {
		return r, hostapi.Refuse(fmt.Sprintf("%s is not a runner: %v", p, err),
			"a runner is a package with bin/microvm-run, as config.microvm.declaredRunner is")
	}
	args := r.bootArguments(string(run))
	r.RegInfo = args.regInfo
	if r.System = r.linkedSystem(); r.System == "" {
		r.System = args.system
	}
	return r, nil
}

// linkedSystem is what share/microvm/system points to; there is none with
// `systemSymlink = false`, which VMs with a store disk have.
func (r Runner) linkedSystem() microvm.StorePath {
	sys, err := os.Readlink(r.File("share/microvm/system"))
	if err != nil {
		return ""
	}
	sp, err := microvm.ParseStorePath(sys)
	if err != nil {
		return ""
	}
	return sp
}

// File is where the runner's file of that name is.
func (r Runner) File(name string) string { return filepath.Join(r.root, string(r.Path), name) }

// Shutdown is the script by which the hypervisor has the guest shut down; empty
// where the runner has none.
func (r Runner) Shutdown() string {
	script := r.File("bin/microvm-shutdown")
	if fi, err := os.Stat(script); err != nil || !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
		return ""
	}
	return script
}

// Hypervisor is the word that microvm.nix has for it, such as "qemu"; empty where
// the runner does not say.
func (r Runner) Hypervisor() string {
	b, err := ReadBounded(r.File("share/microvm/hypervisor"), 1024)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (r Runner) systemFile(name string) string {
	return filepath.Join(r.root, string(r.System), name)
}

// HostName is the name that the system gives itself, from etc/hostname; empty
// where it has none.
func (r Runner) HostName() string {
	if r.System == "" {
		return ""
	}
	b, err := ReadBounded(r.systemFile("etc/hostname"), 1024)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// SystemHere reports whether the system is in the store; one that is only on a store
// disk need not be.
func (r Runner) SystemHere() bool {
	if r.System == "" {
		return false
	}
	_, err := os.Stat(r.systemFile(""))
	return err == nil
}

// CanSwitch reports whether the built system can be switched to.
func (r Runner) CanSwitch() bool {
	if r.System == "" {
		return false
	}
	fi, err := os.Stat(r.systemFile("bin/switch-to-configuration"))
	return err == nil && fi.Mode()&0o111 != 0
}

// ReadBounded reads a regular file of at most limit bytes.
func ReadBounded(path string, limit int64) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, fi.Size(), limit)
	}
	return os.ReadFile(path)
}
