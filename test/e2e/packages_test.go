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

// labPackage is a package whose tests with the tag `lab` need real programs that
// the machine itself need not have (Nix, sshd, sudo).
type labPackage struct {
	name, wanted string       // wanted: a test that needs them
	on           *lab.Machine // the machine of its kind
}

func TestPackagesInTheLab(t *testing.T) {
	for _, p := range []labPackage{
		{"nix", "TestRealBuild", world.operator},
		{"flake", "TestCacheHit", world.operator},
		{"remote", "TestConformance", world.host2},
		{"hostclient", "TestHelperIsUploadedOnce", world.host2},
	} {
		t.Run(p.name, func(t *testing.T) { p.test(t) })
	}
}

// test runs the package's test program in the lab.
func (p labPackage) test(t *testing.T) {
	p.run(t, p.install(t), nil)
}

// install makes the package's test program and puts it into the machine.
func (p labPackage) install(t *testing.T) (dir string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), p.name+".test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "lab", "-o", program, "ferry/internal/"+p.name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir = "/root/packages/" + p.name
	if err := p.on.Install(t.Context(), program, dir+"/test", 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (p labPackage) run(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	var out strings.Builder
	err := p.on.Run(t.Context(), lab.Cmd{
		Args: append([]string{"./test", "-test.v", "-test.timeout=5m"}, args...), Dir: dir, Env: env, Stdout: &out, Stderr: &out,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "--- PASS: "+p.wanted) || strings.Contains(out.String(), "--- SKIP") {
		t.Fatalf("tests with the real programs did not run:\n%s", out.String())
	}
}
