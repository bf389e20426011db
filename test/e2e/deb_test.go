//go:build lab

package e2e

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
	"ferry/internal/release"
)

// Debian's package on a machine without anything to build with: it makes the
// machine a host and deploys to it, from a flake there. Purging it takes what it
// brought, and nothing of a VM.
func TestPackageMakesABareDebianAHost(t *testing.T) {
	in := newInfra(t, `{ hosts.here.address = "local"; vms.packaged.host = "here"; }`, map[string]string{"packaged": vmModule("packaged")})
	bare := bareHost(t)
	for _, dir := range []string{in.dir, "/root/microvm.nix", "/root/site"} {
		copyTo(t, bare, dir)
	}
	output(t, bare, "sh", "-c", "! command -v go && ! command -v cc && ! command -v make")
	before := everything(t, bare)
	deb := debianPackage(t)
	installPackage(t, bare, deb)
	files := strings.Fields(output(t, bare, "dpkg", "-L", "ferry"))
	if changed := output(t, bare, "dpkg", "--verify", "ferry"); changed != "" {
		t.Errorf("not as it was packed:\n%s", changed)
	}
	output(t, bare, "bash", "-euc", ". /usr/share/bash-completion/completions/ferry && complete -p ferry && zcat /usr/share/man/man1/ferry.1.gz | grep -q ^.TH")

	in.ferryOn(bare, "host", "setup", "local").want(0, "set up as a host of MicroVMs", "created link /usr/local/bin/ferry")
	if res := in.ferryOn(bare, "rebuild", "packaged", "--json").want(0).result(); res.Outcome != result.OutcomeStarted {
		t.Errorf("%+v", res)
	}
	vm := onHost(t, bare, "packaged")
	started := vm.invocation()
	if theirs := output(t, bare, "/usr/local/bin/ferry", "version"); theirs != output(t, bare, "/usr/bin/ferry", "version") {
		t.Errorf("timers would run %s", theirs)
	}

	output(t, bare, "dpkg", "--purge", "ferry")
	for _, f := range files {
		output(t, bare, "sh", "-euc", `[ -d "$1" ] || [ ! -e "$1" ]`, "sh", f)
	}
	if vm.invocation() != started || vm.property("ActiveState") != "active" {
		t.Errorf("the VM is %s, and was started again", vm.property("ActiveState"))
	}
	if list := output(t, bare, "microvm", "-l"); !strings.Contains(list, "packaged") {
		t.Errorf("microvm -l: %s", list)
	}
	output(t, bare, "systemctl", "restart", "microvm@packaged")

	// The package's ferry can undo what it set up, and purging it then leaves the
	// machine as it was.
	installPackage(t, bare, deb)
	in.ferryOn(bare, "remove", "packaged", "--yes").want(0)
	in.ferryOn(bare, "host", "setup", "local", "--remove").want(0, "setup undone")
	output(t, bare, "dpkg", "--purge", "ferry")
	collectGarbage(t, bare)
	// The operator's own notes, and what apt makes when it is used for the first time.
	output(t, bare, "rm", "-rf", "/root/.local", "/var/lib/apt/lists/auxfiles")
	if diff := differences(before, everything(t, bare)); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
}

// debianPackage makes Debian's package for the lab's machines.
func debianPackage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := (release.Dist{To: dir, Platforms: []string{"linux/amd64"}}).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("%q, %v", debs, err)
	}
	return debs[0]
}

// installPackage installs it, with the manual pages that the lab's machines
// otherwise leave out.
func installPackage(t *testing.T, m *lab.Machine, deb string) {
	t.Helper()
	if err := m.Install(t.Context(), deb, "/run/ferry.deb", 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, m, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", "install",
		"-o", "DPkg::Options::=--path-include=/usr/share/man/*", "-o", "DPkg::Options::=--path-include=/usr/share/doc/*", "/run/ferry.deb")
}

// copyTo copies a directory of the operator to the same place on another machine.
func copyTo(t *testing.T, m *lab.Machine, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.Path(dir)), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", world.operator.Path(dir), m.Path(dir)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// ferryOn runs the ferry of another machine in its copy of the flake.
func (in *infra) ferryOn(m *lab.Machine, args ...string) *ran {
	in.t.Helper()
	var out, errs bytes.Buffer
	err := m.Run(in.t.Context(), lab.Cmd{Args: append([]string{"ferry"}, args...), Dir: in.dir, Stdout: &out, Stderr: &errs})
	r := &ran{t: in.t, args: args, stdout: out.String(), stderr: errs.String()}
	var re *lab.RunError
	switch {
	case errors.As(err, &re):
		r.code = re.ExitCode
	case err != nil:
		in.t.Fatalf("ferry %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// unameOfARM64 is a `uname` that takes the machine for one with another processor.
const unameOfARM64 = `#!/bin/sh
case $1 in
-m) echo aarch64 ;;
*) exec /usr/bin/uname "$@" ;;
esac
`

// A release of ferry has the helper for the host's processor, whatever the
// operator's: on arm64 (run by qemu-user here) it sets up and deploys to a host on
// amd64; on amd64 it brings arm64's helper to a host that is arm64. The latter is
// looked at and run by qemu-user, but not as a host.
// microvm-nix/microvm.nix#517, #397
func TestOperatorsAndHostsOfOtherProcessors(t *testing.T) {
	in := newInfra(t, "", map[string]string{"processor": vmModule("processor")})
	bare := bareHost(t)
	onARM64, onAMD64 := releaseOn(t, "linux/arm64"), releaseOn(t, "linux/amd64")
	version := in.ferryWith(onAMD64, "version").want(0).stdout

	in.ferryWith(onARM64, "host", "setup", "root@bare").want(0, "ferry itself is not installed", "does not run on this host")
	res := in.ferryWith(onARM64, "rebuild", "processor", "root@bare", "--json").want(0).result()
	if res.Outcome != result.OutcomeStarted || onHost(t, bare, "processor").property("ActiveState") != "active" {
		t.Errorf("%+v", res)
	}
	if helpers := helpersOn(t, bare); len(helpers) != 1 || helpers[0].machine != elf.EM_X86_64 {
		t.Errorf("%+v", helpers)
	}
	before := output(t, bare, "ls", "/var/lib/ferry/bin")

	uname := filepath.Join(t.TempDir(), "uname")
	if err := os.WriteFile(uname, []byte(unameOfARM64), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := bare.Install(t.Context(), uname, "/usr/local/bin/uname", 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, bare, "rm", "-rf", "/var/lib/ferry/bin/"+before) // or it would be taken as it is
	in.ferryWith(onAMD64, "list", "root@bare").want(1)
	helpers := helpersOn(t, bare)
	if len(helpers) != 1 || helpers[0].machine != elf.EM_AARCH64 {
		t.Fatalf("%+v", helpers)
	}
	if sum := output(t, bare, "sha256sum", helpers[0].path); !strings.HasPrefix(sum, filepath.Base(filepath.Dir(helpers[0].path))) {
		t.Errorf("%s", sum)
	}
	emulator, err := world.ARM64Emulator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.Install(t.Context(), emulator, "/run/qemu-aarch64", 0o755); err != nil {
		t.Fatal(err)
	}
	_, ours, _ := strings.Cut(version, " ")
	if _, theirs, _ := strings.Cut(output(t, bare, "/run/qemu-aarch64", helpers[0].path, "--version")+"\n", " "); theirs != ours {
		t.Errorf("the helper says %q, ferry %q", theirs, ours)
	}
}

// releaseOn is what starts a release of ferry for a platform on the operator.
func releaseOn(t *testing.T, platform string) lab.Cmd {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ferry")
	if err := (release.Build{To: program, For: platform, Helpers: release.Platforms}).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := "/run/" + strings.ReplaceAll(platform, "/", "-")
	t.Cleanup(func() { _, _ = world.operator.Output(context.WithoutCancel(t.Context()), "rm", "-rf", dir) })
	install := func(file, to string) {
		t.Helper()
		if err := world.operator.Install(t.Context(), file, dir+"/"+to, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if platform == "linux/amd64" {
		install(program, "ferry")
		return lab.Cmd{Args: []string{"env", "PATH=" + dir + ":/usr/bin:/bin"}}
	}
	emulator, err := world.ARM64Emulator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	install(emulator, "qemu-aarch64")
	install(program, "lib/ferry")
	starter := filepath.Join(t.TempDir(), "starter")
	if err := os.WriteFile(starter, []byte("#!/bin/sh\nexec "+dir+"/qemu-aarch64 "+dir+"/lib/ferry \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	install(starter, "ferry")
	return lab.Cmd{Args: []string{"env", "PATH=" + dir + ":/usr/bin:/bin"}}
}

// helperOn is a helper that ferry has uploaded.
type helperOn struct {
	path    string // on the host
	machine elf.Machine
}

func helpersOn(t *testing.T, m *lab.Machine) []helperOn {
	t.Helper()
	var found []helperOn
	for _, path := range strings.Fields(output(t, m, "sh", "-c", "echo /var/lib/ferry/bin/*/*")) {
		f, err := elf.Open(m.Path(path))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, helperOn{path, f.Machine})
		_ = f.Close()
	}
	return found
}
