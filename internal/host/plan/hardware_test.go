package plan

import (
	"strings"
	"testing"
)

// Whatever a script holds, it does not differ from itself, and little is shown of
// what differs.
func FuzzArgumentChanges(f *testing.F) {
	f.Add("exec qemu -m 512M")
	f.Add("\x00\xff'\"\\")
	f.Fuzz(func(t *testing.T, script string) {
		if script != "" && argumentChanges("bin/x", script, script) != "bin/x differs" {
			t.Errorf("a script differs from itself: %s", argumentChanges("bin/x", script, script))
		}
		if shown := argumentChanges("bin/x", script, script+" more"); len(strings.Fields(shown)) > 2*maxShownArguments+6 {
			t.Errorf("too much is shown: %q", shown)
		}
	})
}
