package nix

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"ferry/internal/trouble"
)

// Version is what `nix --version` says.
type Version struct {
	Major, Minor, Patch int
	Pre                 bool   // an unreleased build of that version
	Text                string // the whole line
}

// OldestVersion is the oldest Nix that ferry works with, on the operator and on
// hosts: the oldest one it is tested with.
func OldestVersion() Version { return Version{Major: 2, Minor: 26} }

// The number is the last word: `nix (Nix) 2.26.3`, `nix (Lix, like Nix) 2.91.1`,
// `nix (Determinate Nix 3.6.2) 2.29.0`, `nix (Nix) 2.27.0pre20250210_a1b2c3d`. A
// wrapper around Nix may say something before it.
var versionPattern = regexp.MustCompile(`^nix \(([ -'*-~]+)\) ([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,8}))?(?:\.[0-9]+)*((?:pre|-|\+|_)[0-9A-Za-z.+_-]*)?$`)

// ParseVersion reads the output of `nix --version`.
func ParseVersion(s string) (Version, error) {
	const most = 20 // lines before it
	n := 0
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if m := versionPattern.FindStringSubmatch(line); m != nil {
			v := Version{Text: line, Pre: strings.HasPrefix(m[5], "pre")}
			for i, part := range []*int{&v.Major, &v.Minor, &v.Patch} {
				if m[2+i] != "" {
					*part, _ = strconv.Atoi(m[2+i])
				}
			}
			return v, nil
		}
		if n++; n > most {
			break
		}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return Version{}, fmt.Errorf("%.80q is not a version of Nix", strings.TrimSpace(first))
}

// Compare is negative when v is older than o. A pre-release is older than its
// release. Text plays no part.
func (v Version) Compare(o Version) int {
	pre := func(v Version) int {
		if v.Pre {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor),
		cmp.Compare(v.Patch, o.Patch), cmp.Compare(pre(v), pre(o)))
}

// String is the number, `2.26.3`.
func (v Version) String() string {
	s := fmt.Sprintf("%d.%d", v.Major, v.Minor)
	if v.Patch > 0 {
		s += "." + strconv.Itoa(v.Patch)
	}
	if v.Pre {
		s += "pre"
	}
	return s
}

// VersionError is a Nix that is too old.
type VersionError struct {
	Found Version
	Where string // "this machine", or the host's address
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has Nix %s, ferry needs %s or newer", e.Where, e.Found, OldestVersion())
}

// Section is the section of docs/troubleshooting.md about it.
func (*VersionError) Section() trouble.Section { return trouble.OldNix }

// Hint is what to do next.
func (e *VersionError) Hint() string { return "upgrade Nix there" }

// CheckVersion returns a *VersionError when v is older than OldestVersion; where
// names the machine in its message.
func CheckVersion(v Version, where string) error {
	if v.Compare(OldestVersion()) < 0 {
		return &VersionError{Found: v, Where: where}
	}
	return nil
}

// Version asks the program for its version; ErrNoNix when there is none.
func (n *Nix) Version(ctx context.Context) (Version, error) {
	out, _, err := n.run(ctx, command{program: "nix", args: []string{"--version"}})
	if err != nil {
		return Version{}, err
	}
	return ParseVersion(string(out))
}
