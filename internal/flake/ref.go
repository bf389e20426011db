package flake

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"ferry/internal/ui"
)

const maxRefLength = 2048 // bytes of a flake reference

// Source is a flake and how to evaluate it.
type Source struct {
	// Ref is a flake reference as the user wrote it; empty means ".". A path
	// without a scheme is what Nix makes of it.
	Ref string
	// File is a Nix file to evaluate instead of a flake (Nix manual, "nix eval",
	// --file); empty: none.
	File string
	// Evaluation is a file with what an evaluation has yielded already: nothing is
	// evaluated; empty: none.
	Evaluation string
	// Options are passed to Nix as they are: --override-input A B, --impure,
	// --option K V… The caller has checked that they are no others.
	Options []string
}

// checkedRef is the reference to hand to Nix.
func (s Source) checkedRef() (string, error) {
	if s.Ref == "" {
		return ".", nil
	}
	if why := unfitForArgument(s.Ref); why != "" {
		return "", fmt.Errorf("%.120q is not a flake reference: %s", s.Ref, why)
	}
	return s.Ref, nil
}

// unfitForArgument says why ref must not reach a command line or a file.
func unfitForArgument(ref string) string {
	switch {
	case ref == "":
		return "it is empty"
	case len(ref) > maxRefLength:
		return "it is too long"
	case strings.HasPrefix(ref, "-"):
		return "it begins with `-`"
	case strings.ContainsRune(ref, '#'):
		return "the part after `#` is not wanted here: the VM is named separately"
	case strings.ContainsFunc(ref, unicode.IsControl) || strings.ContainsRune(ref, unicode.ReplacementChar):
		return "it has control characters"
	}
	return ""
}

var schemePattern = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):(.*)$`)

// remoteSchemes are those whose rest is a URL with a host, forgeSchemes those
// with OWNER/REPO (Nix manual, "nix flake": flake reference types).
func remoteSchemes() []string {
	return []string{
		"git", "git+http", "git+https", "git+ssh", "hg+http", "hg+https", "hg+ssh",
		"http", "https", "tarball+http", "tarball+https", "file+http", "file+https",
	}
}

func forgeSchemes() []string { return []string{"github", "gitlab", "sourcehut"} }

func fileSchemes() []string {
	return []string{"git+file", "hg+file", "tarball+file", "file+file", "file"}
}

// CheckUpdateRef checks a flake reference that is written to a host, which
// evaluates it later, on its own: it must mean the same there, and may change
// what it points to. A path of the operator's machine or a fixed path in the
// store would make every later update fail, or silently do nothing; a secret in
// it would be readable for everybody on the host.
func CheckUpdateRef(ref string) error {
	why := unfitForArgument(ref)
	if why == "" && strings.ContainsFunc(ref, unicode.IsSpace) {
		why = "it has spaces"
	}
	if why == "" {
		why = uselessOnHost(ref)
	}
	if why == "" && ui.Redact(ref) != ref {
		why = "it has a password or token in it, which everybody on the host could read: put that into the file that its Nix setting `netrc-file` names"
	}
	if why != "" {
		return fmt.Errorf("%.120q cannot be used by the host for updates: %s (expected a reference such as github:OWNER/REPO, git+https://… or git+file:///etc/nixos)", ui.Redact(ref), why)
	}
	return nil
}

func uselessOnHost(ref string) string {
	m := schemePattern.FindStringSubmatch(ref)
	if m == nil {
		if inStore(ref) {
			return "it is a fixed path in the store, so updates would never find anything new"
		}
		return "it has no scheme, so it is a path of this machine or depends on its registry"
	}
	scheme, rest := m[1], m[2]
	if inStore(rest) {
		return "it is a fixed path in the store, so updates would never find anything new"
	}
	location, _, _ := strings.Cut(rest, "?")
	switch {
	case scheme == "path":
		return "`path:` means a directory copied from this machine; use git+file:// for a repository on the host"
	case slices.Contains(forgeSchemes(), scheme):
		owner, repo, _ := strings.Cut(location, "/")
		if owner == "" || strings.Trim(repo, "/") == "" {
			return "OWNER/REPO is missing"
		}
	case scheme == "flake":
		if strings.Trim(location, "/") == "" {
			return "the name of a registry entry is missing"
		}
	case slices.Contains(fileSchemes(), scheme):
		if file, ok := strings.CutPrefix(location, "//"); ok {
			location = file
		}
		if !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") {
			return "the path in it is not absolute"
		}
	case slices.Contains(remoteSchemes(), scheme):
		if u, err := url.Parse(scheme + ":" + location); err != nil || u.Host == "" {
			return "it names no host"
		}
	default:
		known := slices.Concat(forgeSchemes(), remoteSchemes(), fileSchemes(), []string{"flake"})
		return fmt.Sprintf("`%s:` is not a scheme of flake references%s", scheme, didYouMean(scheme, known))
	}
	return ""
}

// inStore reports whether a path in s, once decoded and cleaned, lies in the
// store.
func inStore(s string) bool {
	if decoded, err := url.PathUnescape(s); err == nil {
		s = decoded
	}
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune("?&=", r) }) {
		clean := path.Clean("/" + part)
		if strings.Contains(clean+"/", "/nix/store/") {
			return true
		}
	}
	return false
}
