package microvm

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxNameLength bounds a VM's name in bytes: with the longest unit name around
// it (`microvm-macvtap-interfaces@NAME.service`) it stays far below systemd's
// limit of 256.
const MaxNameLength = 64

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$`)

// Name is a VM's name, checked by ParseName: it is safe as a directory entry,
// as a systemd instance name (but for escaping `-`, which systemd's template
// instances do not need) and inside a Nix string.
type Name string

// ParseName checks s against the grammar `[A-Za-z0-9][A-Za-z0-9_-]*`, of which more
// parts (that may begin with any of these) may follow behind single dots, of at most
// MaxNameLength bytes.
func ParseName(s string) (Name, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("the VM name is empty")
	case len(s) > MaxNameLength:
		return "", fmt.Errorf("the VM name %.20q… has %d characters; at most %d are allowed", s, len(s), MaxNameLength)
	case !namePattern.MatchString(s):
		return "", fmt.Errorf("%.80q is not a valid VM name: letters, digits, `-`, `_` and single dots between them are allowed, the first a letter or digit", s)
	}
	return Name(s), nil
}

// Attribute is the name as it stands in a path of Nix attributes.
func (n Name) Attribute() string {
	if attributePattern.MatchString(string(n)) {
		return string(n)
	}
	return `"` + string(n) + `"`
}

var attributePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// Unit is the systemd service that runs the VM.
func (n Name) Unit() string { return "microvm@" + string(n) + ".service" }

// Collides reports the name of another VM whose GC root links would be the same
// file as one of n's: microvm.nix keeps NAME, booted-NAME and old-NAME side by
// side in one directory. Empty when there is none among others.
func (n Name) Collides(others []Name) Name {
	for _, o := range others {
		if o == n {
			continue
		}
		for _, prefix := range []string{"old-", "booted-"} {
			if string(n) == prefix+string(o) || string(o) == prefix+string(n) {
				return o
			}
		}
	}
	return ""
}

// SystemBaseName is what microvm.nix shows of a store path: the part behind the
// hash. A string that is no store path is returned as it is.
func SystemBaseName(storePath string) string {
	base := storePath[strings.LastIndex(storePath, "/")+1:]
	if _, name, ok := strings.Cut(base, "-"); ok {
		return name
	}
	return base
}
