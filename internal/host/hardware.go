package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// A runner's hardware is everything of it but the system inside: two runners
// with the same fingerprint differ at most in the system they boot. microvm.nix
// names that system in `init=SYSTEM/init` and `regInfo=FILE` on the kernel
// command line and in share/microvm/system; these are masked. Files of the
// store that the scripts name (a hypervisor's configuration file, say) are
// compared by content, since their paths change with the system they mention.
type fingerprint struct {
	parts map[string]string // entry of the runner, e.g. "bin/microvm-run" → canonical content
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

// runner is an opened runner package in the store.
type runner struct {
	root    string // Layout.Root
	path    microvm.StorePath
	system  microvm.StorePath // empty where the runner has no share/microvm/system
	regInfo string            // empty where the VM registers no closure at boot
}

// openRunner reads what a runner says of itself. Only bin/microvm-run must be
// there: that is what the units and microvm.nix's documentation require.
func openRunner(root string, p microvm.StorePath) (runner, error) {
	r := runner{root: root, path: p}
	run, err := readBounded(r.file("bin/microvm-run"), maxScript)
	if err != nil {
		return r, hostapi.Refuse(fmt.Sprintf("%s is not a runner: %v", p, err),
			"a runner is a package with bin/microvm-run, as config.microvm.declaredRunner is")
	}
	if m := regInfoRef.FindSubmatch(run); m != nil {
		r.regInfo = string(m[1])
	}
	if sys, err := os.Readlink(r.file("share/microvm/system")); err == nil {
		if sp, err := microvm.ParseStorePath(sys); err == nil {
			r.system = sp
		}
	}
	return r, nil
}

func (r runner) file(name string) string { return filepath.Join(r.root, string(r.path), name) }

func (r runner) systemFile(name string) string {
	return filepath.Join(r.root, string(r.system), name)
}

// hostName is the name that the system gives itself, from etc/hostname; empty
// where it has none.
func (r runner) hostName() string {
	if r.system == "" {
		return ""
	}
	b, err := readBounded(r.systemFile("etc/hostname"), 1024)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// canSwitch reports whether the built system can be switched to.
func (r runner) canSwitch() bool {
	if r.system == "" {
		return false
	}
	fi, err := os.Stat(r.systemFile("bin/switch-to-configuration"))
	return err == nil && fi.Mode()&0o111 != 0
}

func (r runner) fingerprint() (fingerprint, error) {
	fp := fingerprint{parts: map[string]string{}}
	for _, dir := range []string{"bin", "share/microvm"} {
		err := filepath.WalkDir(r.file(dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return nil
			}
			rel, err := filepath.Rel(r.file(""), p)
			if err != nil {
				return err
			}
			if rel == "share/microvm/system" {
				return nil
			}
			content, err := readBounded(p, maxScript)
			if err != nil {
				return err
			}
			fp.parts[rel] = r.canonical(content, 0)
			return nil
		})
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || dir == "bin") {
			return fp, fmt.Errorf("reading the runner %s: %w", r.path, err)
		}
	}
	return fp, nil
}

// canonical masks the system inside in a script and replaces paths of text
// files in the store by a hash of their own canonical content.
func (r runner) canonical(content []byte, depth int) string {
	text := string(content)
	if r.regInfo != "" {
		text = strings.ReplaceAll(text, r.regInfo, "REGISTRATION")
	}
	if r.system != "" {
		text = strings.ReplaceAll(text, string(r.system), "SYSTEM")
	}
	if depth >= maxRefDepth {
		return text
	}
	return storeRef.ReplaceAllStringFunc(text, func(ref string) string {
		b, err := readBounded(filepath.Join(r.root, ref), maxRefFile)
		if err != nil || strings.IndexByte(string(b), 0) >= 0 {
			return ref // a directory, a program or a kernel: its path is what counts
		}
		sum := sha256.Sum256([]byte(r.canonical(b, depth+1)))
		return "text:" + hex.EncodeToString(sum[:])
	})
}

func readBounded(path string, limit int64) ([]byte, error) {
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

// hardwareChanges says what differs between the hardware of two runners, in
// words; empty means that they differ at most in the system inside. The records
// name the change where both are known (nil otherwise); else the differing
// arguments are shown.
func hardwareChanges(from, to runner, fromRec, toRec *microvm.Record) ([]string, error) {
	if from.path == to.path {
		return nil, nil
	}
	a, err := from.fingerprint()
	if err != nil {
		return nil, err
	}
	b, err := to.fingerprint()
	if err != nil {
		return nil, err
	}
	var differing []string
	for part := range a.parts {
		if other, ok := b.parts[part]; !ok || other != a.parts[part] {
			differing = append(differing, part)
		}
	}
	for part := range b.parts {
		if _, ok := a.parts[part]; !ok {
			differing = append(differing, part)
		}
	}
	if len(differing) == 0 {
		return nil, nil
	}
	if named := recordChanges(fromRec, toRec); len(named) > 0 {
		return named, nil
	}
	slices.Sort(differing)
	var out []string
	for _, part := range differing {
		out = append(out, argumentChanges(part, a.parts[part], b.parts[part]))
	}
	return out, nil
}

const maxShownArguments = 6

// argumentChanges shows the words of a script that only one side has.
func argumentChanges(part, from, to string) string {
	switch {
	case from == "":
		return part + " is new"
	case to == "":
		return part + " is gone"
	}
	gone, come := wordDifference(from, to), wordDifference(to, from)
	if len(gone)+len(come) == 0 {
		return part + " differs"
	}
	return fmt.Sprintf("%s: %s → %s", part, shorten(gone), shorten(come))
}

func wordDifference(a, b string) []string {
	count := map[string]int{}
	for w := range strings.FieldsSeq(b) {
		count[w]++
	}
	var out []string
	for w := range strings.FieldsSeq(a) {
		if count[w]--; count[w] < 0 {
			out = append(out, strings.Trim(w, `'"\`))
		}
	}
	return out
}

func shorten(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	more := ""
	if len(words) > maxShownArguments {
		words, more = words[:maxShownArguments], " …"
	}
	return strings.Join(words, " ") + more
}
