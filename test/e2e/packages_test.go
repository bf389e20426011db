//go:build lab

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/lab"
)

// The packages whose tests with the tag `lab` need real programs that the
// machine need not have (Nix): their test programs run on the operator.
func TestPackagesOnTheOperator(t *testing.T) {
	for pkg, wanted := range map[string]string{"nix": "TestRealBuild", "flake": "TestCacheHit"} {
		t.Run(pkg, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), pkg+".test")
			build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "lab", "-o", program, "ferry/internal/"+pkg)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			dir := "/root/packages/" + pkg
			if err := world.operator.Install(t.Context(), program, dir+"/test", 0o755); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err := world.operator.Run(t.Context(), lab.Cmd{
				Args: []string{"./test", "-test.v"}, Dir: dir, Stdout: &out, Stderr: &out,
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), "--- PASS: "+wanted) || strings.Contains(out.String(), "--- SKIP") {
				t.Fatalf("tests with the real programs did not run:\n%s", out.String())
			}
		})
	}
}
