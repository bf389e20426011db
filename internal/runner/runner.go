// Package runner reads a runner in the store: the package that `current` points to,
// of microvm.nix's shape or anybody's. It owns what its files mean and what of them is
// hardware; it must not know of hosts, links or deployments.
package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Fingerprint is a runner's hardware, that is everything of it but the system inside: two runners
// with the same one differ at most in the system they boot. microvm.nix
// names that system in `init=SYSTEM/init` and `regInfo=FILE` on the kernel
// command line and in share/microvm/system; these are masked. Files of the
// store that the scripts name (a hypervisor's configuration file, say) are
// compared by content, since their paths change with the system they mention.
type Fingerprint struct {
	Parts map[string]string // entry of the runner, e.g. "bin/microvm-run" → canonical content
}

var (
	storeRef   = regexp.MustCompile(`/nix/store/[0-9a-df-np-sv-z]{32}-[A-Za-z0-9+._?=-]+(?:/[A-Za-z0-9+._?=/-]*)?`)
	regInfoRef = regexp.MustCompile(`regInfo=(/nix/store/[A-Za-z0-9+._?=/-]+)`)
)

const (
	maxScript   = 1 << 20 // bytes of one script of a runner
	maxRefDepth = 4
	maxRefFile  = 256 << 10
)

// Runner is an opened runner package in the store.
type Runner struct {
	root    string // before every path of the store; empty but in tests
	Path    microvm.StorePath
	System  microvm.StorePath // empty where the runner has no share/microvm/system
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
	if m := regInfoRef.FindSubmatch(run); m != nil {
		r.RegInfo = string(m[1])
	}
	if sys, err := os.Readlink(r.File("share/microvm/system")); err == nil {
		if sp, err := microvm.ParseStorePath(sys); err == nil {
			r.System = sp
		}
	}
	return r, nil
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

// CanSwitch reports whether the built system can be switched to.
func (r Runner) CanSwitch() bool {
	if r.System == "" {
		return false
	}
	fi, err := os.Stat(r.systemFile("bin/switch-to-configuration"))
	return err == nil && fi.Mode()&0o111 != 0
}

// Fingerprint reads what of the runner is hardware.
func (r Runner) Fingerprint() (Fingerprint, error) {
	fp := Fingerprint{Parts: map[string]string{}}
	for _, dir := range []string{"bin", "share/microvm"} {
		err := filepath.WalkDir(r.File(dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return nil
			}
			rel, err := filepath.Rel(r.File(""), p)
			if err != nil {
				return err
			}
			if rel == "share/microvm/system" {
				return nil
			}
			content, err := ReadBounded(p, maxScript)
			if err != nil {
				return err
			}
			fp.Parts[rel] = r.canonical(content, 0)
			return nil
		})
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || dir == "bin") {
			return fp, fmt.Errorf("reading the runner %s: %w", r.Path, err)
		}
	}
	return fp, nil
}

// canonical masks the system inside in a script and replaces paths of text
// files in the store by a hash of their own canonical content.
func (r Runner) canonical(content []byte, depth int) string {
	text := string(content)
	if r.RegInfo != "" {
		text = strings.ReplaceAll(text, r.RegInfo, "REGISTRATION")
	}
	if r.System != "" {
		text = strings.ReplaceAll(text, string(r.System), "SYSTEM")
	}
	if depth >= maxRefDepth {
		return text
	}
	return storeRef.ReplaceAllStringFunc(text, func(ref string) string {
		b, err := ReadBounded(filepath.Join(r.root, ref), maxRefFile)
		if err != nil || strings.IndexByte(string(b), 0) >= 0 {
			return ref // a directory, a program or a kernel: its path is what counts
		}
		sum := sha256.Sum256([]byte(r.canonical(b, depth+1)))
		return "text:" + hex.EncodeToString(sum[:])
	})
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
