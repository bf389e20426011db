package vmstate

import (
	"strings"
	"testing"
)

func FuzzParseFlakeFile(f *testing.F) {
	for _, seed := range []string{"", "\n", "github:a/b", "github:a/b\n", "git+file:///etc/nixos", "\x00", "a\nb", "-x", "a#b", "\xff", "a b", "\u202e"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		ref, err := ParseFlakeFile(content)
		if err != nil {
			return
		}
		if ref == "" || ref[0] == '-' || strings.ContainsAny(ref, "#\n\r\x00\x1b ") || len(ref) > maxFlakeFile {
			t.Errorf("%q became %q", content, ref)
		}
		if again, err := ParseFlakeFile([]byte(ref)); err != nil || again != ref {
			t.Errorf("%q read again is %q, %v", ref, again, err)
		}
	})
}
