package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// Fingerprint is a runner's hardware, that is everything of it but the system
// inside: two runners with the same Parts differ at most in that, in the helper
// programs that their scripts call, and in StoreDisk.
//
// microvm.nix names the system in `init=SYSTEM/init` and `regInfo=FILE` on the
// kernel's command line and in share/microvm/system; these are masked wherever
// they stand. Text files of the store that the scripts name are compared by what
// is in them, since their paths change with what they mention. So are scripts;
// programs are told apart: a hypervisor by its path, bash, coreutils, socat and
// the like not at all.
type Fingerprint struct {
	Parts map[string]string // entry of the runner, e.g. "bin/microvm-run" → canonical content
	// Programs are the hypervisors and device backends that the scripts start, by
	// the name of the executable.
	Programs map[string]string
	// StoreDisk is the image of the guest's store, which is another one for each
	// system: with `storeOnDisk`, and always with Firecracker.
	StoreDisk string
	Command   Command // what bin/microvm-run starts
}

var storeRef = regexp.MustCompile(`/nix/store/[0-9a-df-np-sv-z]{32}-[A-Za-z0-9+._?=-]+(?:/[A-Za-z0-9+._?=/-]*)?`)

const (
	maxRefDepth = 5
	maxRefBytes = 8 << 20 // of all files together that a runner's scripts refer to
)

// machines are the programs that make up the virtual machine: another build of one is
// another machine.
var machines = map[string]bool{
	"cloud-hypervisor": true, "firecracker": true, "crosvm": true, "lkvm": true, "stratovirt": true,
	"alioth": true, "vfkit": true, "virtiofsd": true,
}

func isMachine(program string) bool {
	program = strings.TrimSuffix(strings.TrimPrefix(program, "."), "-wrapped")
	return machines[program] || strings.HasPrefix(program, "qemu-system-")
}

// unimportant are scripts that only talk to a machine that runs: what is in them
// makes no other machine.
var unimportant = map[string]bool{
	"bin/microvm-shutdown": true, "bin/microvm-balloon": true, "bin/microvm-unregister": true,
}

// reader makes the canonical contents of one runner's files.
type reader struct {
	Runner
	fp   *Fingerprint
	seen map[string]string // reference → what stands for it
	left int               // bytes that may still be read of files referred to
}

// Fingerprint reads what of the runner is hardware.
func (r Runner) Fingerprint() (Fingerprint, error) {
	fp := Fingerprint{Parts: map[string]string{}, Programs: map[string]string{}}
	run, err := ReadBounded(r.File("bin/microvm-run"), maxScript)
	if err != nil {
		return fp, fmt.Errorf("reading the runner %s: %w", r.Path, err)
	}
	rd := &reader{Runner: r, fp: &fp, seen: map[string]string{}, left: maxRefBytes}
	fp.Command = r.command(rd.masked(string(run)))
	for _, dir := range []string{"bin", "share/microvm"} {
		err := filepath.WalkDir(r.File(dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(r.File(""), p)
			if err != nil || rel == "share/microvm/system" || unimportant[rel] {
				return err
			}
			content, err := ReadBounded(p, maxScript)
			if err != nil {
				return err
			}
			fp.Parts[rel] = rd.canonical(string(content), 0)
			return nil
		})
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || dir == "bin") {
			return fp, fmt.Errorf("reading the runner %s: %w", r.Path, err)
		}
	}
	return fp, nil
}

// masked puts words in the place of what changes with the system inside.
func (r *reader) masked(text string) string {
	if r.RegInfo != "" {
		text = strings.ReplaceAll(text, r.RegInfo, "REGISTRATION")
	}
	if r.System != "" {
		text = strings.ReplaceAll(text, string(r.System), "SYSTEM")
	}
	return text
}

// canonical masks the system inside in a text, and everything in the store that it
// refers to.
func (r *reader) canonical(text string, depth int) string {
	return storeRef.ReplaceAllStringFunc(r.masked(text), func(ref string) string {
		if depth >= maxRefDepth {
			return ref
		}
		to, ok := r.seen[ref]
		if !ok {
			r.seen[ref] = ref // one that refers to itself
			to = r.stand(ref, depth)
			r.seen[ref] = to
		}
		return to
	})
}

// stand is what stands for a reference.
func (r *reader) stand(ref string, depth int) string {
	name, sub := splitRef(ref)
	program := ""
	if dir, file := filepath.Split(sub); dir == "/bin/" || dir == "/sbin/" || dir == "/libexec/" {
		program = file
	}
	pname, version := splitVersion(name)
	machine := program != "" && (isMachine(program) || ref == r.fp.Command.Program)
	switch {
	case strings.Contains(name, "microvm-store-disk."):
		r.fp.StoreDisk = ref
		return "STOREDISK"
	case machine:
		r.fp.Programs[program] = ref
	case program != "" && version != "", sub == "/bin", sub == "/sbin":
		return "tool:" + pname + "/" + strings.TrimRight(program, "0123456789.")
	}
	text, ok := "", false
	if r.left > 0 {
		text, ok = r.storeText(ref)
		r.left -= len(text)
	}
	switch {
	case ok:
		sum := sha256.Sum256([]byte(r.canonical(text, depth+1)))
		return "text:" + hex.EncodeToString(sum[:])
	case program != "" && !machine:
		return "tool:" + pname + "/" + program
	}
	return ref // a directory, a hypervisor or a kernel: its path is what counts
}

// storeText is a text file of the store.
func (r Runner) storeText(ref string) (string, bool) {
	b, err := ReadBounded(filepath.Join(r.root, ref), maxRefFile)
	if err != nil || strings.IndexByte(string(b), 0) >= 0 {
		return "", false
	}
	return string(b), true
}

// splitRef splits a path of the store into the name behind the hash and what
// follows below it.
func splitRef(ref string) (name, sub string) {
	const hash = len("/nix/store/") + 32 + 1
	if len(ref) < hash {
		return ref, ""
	}
	name = ref[hash:]
	if i := strings.IndexByte(name, '/'); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// splitVersion splits a package's name as Nix does: the version begins behind the
// first dash that a digit follows.
func splitVersion(name string) (pname, version string) {
	for i := 0; i+1 < len(name); i++ {
		if name[i] == '-' && name[i+1] >= '0' && name[i+1] <= '9' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

// Package is the package that a path of the store is in: name and version, of which
// the version may be empty.
func Package(ref string) (pname, version string) {
	name, _ := splitRef(ref)
	return splitVersion(name)
}
