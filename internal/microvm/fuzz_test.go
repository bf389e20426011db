package microvm

import (
	"path"
	"strings"
	"testing"
)

// A store path is a name directly below the store, whatever is made of it.
func FuzzParseStorePath(f *testing.F) {
	for _, s := range []string{
		"/nix/store/00000000000000000000000000000000-web", "/nix/store/00000000000000000000000000000000-web.drv", "/nix/store/../etc", "",
		"/nix/store/00000000000000000000000000000000-web/bin/sh", "/nix/store/00000000000000000000000000000000-$(reboot)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseStorePath(s)
		if err != nil {
			if p != "" {
				t.Errorf("%q is refused, and yet %q", s, p)
			}
			return
		}
		if string(p) != s || path.Dir(s) != StoreDir || path.Clean(s) != s || strings.ContainsAny(s, " \n\t\\'\"$`;&|<>*()!~#\x00") || strings.HasPrefix(path.Base(s), "-") {
			t.Errorf("%q passes", s)
		}
	})
}
