package completion

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
)

const maxLockBytes = 4 << 20

var inputName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_'-]{0,99}$`)

// inputs are the inputs of the flake that ref names, as its lock file has them.
func inputs(ref string) []string {
	p, ok := locate(ref)
	if !ok {
		return nil
	}
	data, err := read(filepath.Join(p.dir, "flake.lock"), maxLockBytes)
	var lock struct {
		Root  string
		Nodes map[string]struct{ Inputs map[string]json.RawMessage }
	}
	if err != nil || json.Unmarshal(data, &lock) != nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(lock.Nodes[lock.Root].Inputs))
	return slices.DeleteFunc(names, func(n string) bool { return !inputName.MatchString(n) })
}
