package runner

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/microvm"
)

const (
	maxInhibitorsFile = 64 << 10
	maxInhibitors     = 64 // names of a file that are looked at
	maxInhibitorLine  = 200
)

// inhibitors are what a system names in its file `switch-inhibitors`: NixOS refuses
// to switch while it runs where that differs.
type inhibitors struct {
	values map[string]string
	lines  bool // the older form: store paths, compared as a whole
}

// Inhibited says what of two systems in the store makes NixOS refuse to switch from
// one to the other, as `NAME old → new`; nothing where it doesn't, and where a
// system or its file isn't there. Only what both name counts, but in the older form of
// the file, where any difference does.
func Inhibited(root string, from, to microvm.StorePath) []string {
	if from == "" || to == "" || from == to {
		return nil
	}
	a, b := readInhibitors(root, from), readInhibitors(root, to)
	if a.lines && b.lines && len(a.values) > 0 && len(b.values) > 0 {
		return differences(a.values, b.values, true)
	}
	if a.lines || b.lines {
		return nil // nothing that both could name
	}
	return differences(a.values, b.values, false)
}

// InhibitedBy is Inhibited for a system that isn't built yet, whose inhibitors the
// configuration names.
func InhibitedBy(root string, from microvm.StorePath, to map[string]string) []string {
	a := readInhibitors(root, from)
	if from == "" || a.lines {
		return nil
	}
	return differences(a.values, to, false)
}

func differences(from, to map[string]string, all bool) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if v, ok := to[name]; ok && v != from[name] {
			out = append(out, name+" "+Change(from[name], v))
		} else if !ok && all {
			out = append(out, name+" is gone")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if _, ok := from[name]; !ok && all {
			out = append(out, name+" is new")
		}
	}
	for i, line := range out {
		out[i] = Brief(line, maxInhibitorLine)
	}
	return out
}

func readInhibitors(root string, system microvm.StorePath) inhibitors {
	none := inhibitors{}
	if system == "" {
		return none
	}
	b, err := ReadBounded(filepath.Join(root, string(system), "switch-inhibitors"), maxInhibitorsFile)
	if err != nil {
		return none
	}
	return parseInhibitors(b)
}

// parseInhibitors reads either form of the file; what is neither names nothing.
func parseInhibitors(b []byte) inhibitors {
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return inhibitors{}
	}
	found := map[string]string{}
	var object map[string]json.RawMessage
	if json.Unmarshal(b, &object) == nil {
		for name, raw := range object {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			found[name] = text
		}
		return inhibitors{values: firsts(found)}
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, microvm.StoreDir+"/") {
			pname, _ := Package(line)
			found[pname] = line
		}
	}
	return inhibitors{values: firsts(found), lines: true}
}

// firsts bounds what is looked at; each system's are the same ones.
func firsts(m map[string]string) map[string]string {
	names := slices.Sorted(maps.Keys(m))
	if len(names) > maxInhibitors {
		for _, n := range names[maxInhibitors:] {
			delete(m, n)
		}
	}
	return m
}

// Change shows a change of a value; of paths in the store what follows the hash.
func Change(from, to string) string {
	a, b := shorter(from), shorter(to)
	if a == b {
		return "rebuilt (" + a + ")"
	}
	return a + " → " + b
}

func shorter(v string) string {
	v = storeRef.ReplaceAllStringFunc(v, func(ref string) string {
		name, sub := splitRef(ref)
		return name + sub
	})
	if v == "" {
		return "nothing"
	}
	return Brief(v, maxShownValue)
}

const maxShownValue = 80

// Brief makes text from a store fit for a line: no control characters, at most so many
// characters.
func Brief(s string, most int) string {
	var out []rune
	for _, c := range s {
		if c < ' ' || c == 0x7f || c == 0xfffd || (c >= 0x80 && c < 0xa0) {
			c = ' '
		}
		if out = append(out, c); len(out) > most {
			out[most] = '…'
			break
		}
	}
	return string(out)
}
