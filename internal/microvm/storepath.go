package microvm

import (
	"fmt"
	"regexp"
)

// StoreDir is the only store directory ferry knows: a microvm.nix runner has it
// in its scripts.
const StoreDir = "/nix/store"

var storePathPattern = regexp.MustCompile(`^/nix/store/[0-9a-df-np-sv-z]{32}-[A-Za-z0-9+._?=-]{1,211}$`)

// StorePath is a path directly under StoreDir, checked by ParseStorePath (Nix
// manual, "Store Path"). It has no character that a shell would touch but `?`.
type StorePath string

// ParseStorePath checks s; a path below a store path is refused.
func ParseStorePath(s string) (StorePath, error) {
	if !storePathPattern.MatchString(s) {
		return "", fmt.Errorf("%.120q is not a store path", s)
	}
	return StorePath(s), nil
}

// UnmarshalText makes JSON decoding check every store path; the empty string
// stands for "none".
func (p *StorePath) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*p = ""
		return nil
	}
	q, err := ParseStorePath(string(b))
	*p = q
	return err
}

// Name is what stands behind the hash.
func (p StorePath) Name() string { return string(p[min(len(p), len(StoreDir)+34):]) }

// IsDerivation reports whether the path is a `.drv` file.
func (p StorePath) IsDerivation() bool {
	return len(p) > 4 && p[len(p)-4:] == ".drv"
}
