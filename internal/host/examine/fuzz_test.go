package examine

import (
	"strings"
	"testing"
)

// What the kernel says of mounts has names that users chose.
func FuzzParseMounts(f *testing.F) {
	f.Add("22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n")
	f.Add("23 22 0:21 / /nix\\040store ro - overlay overlay rw\n")
	f.Add("1 2 - -\n - \n\\777")
	f.Fuzz(func(t *testing.T, list string) {
		if got := parseMounts(list); len(got) > strings.Count(list, "\n")+1 {
			t.Errorf("%d mounts of %q", len(got), list)
		}
	})
}
