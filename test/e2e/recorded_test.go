//go:build lab

package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"ferry/internal/lab"
)

var update = flag.Bool("update", false, "record anew what Nix says: internal/nix/testdata")

// The Nix of the machines and the newest that Debian has say what was recorded of
// them (internal/nix/recorded_test.go); of a version that was not, what they say is
// read all the same.
func TestNixSpeaksAsRecorded(t *testing.T) {
	if err := world.InstallNix(t.Context(), lab.NewNix, world.operator); err != nil {
		t.Fatal(err)
	}
	p := labPackage{"nix", "TestRecordedNix", world.operator}
	args := []string{"-test.run", "^TestRecordedNix$"}
	const dir = "/root/recorded"
	if *update {
		args = append(args, "-record", dir)
	}
	program := p.install(t)
	p.run(t, program, nil, args...)
	p.run(t, program, []string{"PATH=" + lab.NewNix.Dir() + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, args...)
	if *update {
		if err := os.CopyFS(filepath.Join("..", "..", "internal", "nix", "testdata", "new"), os.DirFS(world.operator.Path(dir))); err != nil {
			t.Fatal(err)
		}
		t.Log("look at internal/nix/testdata/new, and move what is in it one up")
	}
}
