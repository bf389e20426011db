//go:build lab

// These tests need a real Nix. The flake is a part of the program, so that the
// compiled tests run anywhere: go test -c -tags lab.
package flake

import (
	_ "embed"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

//go:embed testdata/record/flake.nix
var recordFlake string

// realFlake is a work directory with a flake, an input beside it, and a nix
// program that counts its evaluations.
type realFlake struct {
	t         *testing.T
	dir       string // of the flake
	log       string // command lines of nix
	evaluator *Evaluator
}

func newRealFlake(t *testing.T) *realFlake {
	t.Helper()
	program, err := exec.LookPath("nix")
	if err != nil {
		t.Fatal("these tests need Nix:", err)
	}
	root := t.TempDir()
	t.Setenv("HOME", root)
	t.Setenv("NIX_CONFIG", "substituters =")
	f := &realFlake{t: t, dir: filepath.Join(root, "flake"), log: filepath.Join(root, "log")}
	f.write("../dep/greeting", "hello")
	f.write("../other/greeting", "good bye")
	f.write("flake.nix", strings.ReplaceAll(recordFlake, "@DEP@", filepath.Join(root, "dep")))
	f.write("../bin/nix", "#!/bin/sh\nfor word; do [ -n \"$word\" ] && printf '%.40s ' \"$word\" | tr '\\n' ' '; done >> "+f.log+"\necho >> "+f.log+"\nexec "+program+" \"$@\"\n")
	if err := os.Chmod(filepath.Join(root, "bin", "nix"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.evaluator = &Evaluator{Nix: &nix.Nix{Program: filepath.Join(root, "bin", "nix")}, CacheDir: filepath.Join(root, "cache")}
	return f
}

func (f *realFlake) write(name, content string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// evaluate returns the evaluation, and how many nix eval ran for it.
func (f *realFlake) evaluate(name microvm.Name, options ...string) (*Evaluation, int) {
	f.t.Helper()
	before := f.evaluations()
	got, err := f.evaluator.Evaluate(f.t.Context(), Source{Ref: f.dir, Options: options}, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return got, f.evaluations() - before
}

func (f *realFlake) evaluations() int {
	data, err := os.ReadFile(f.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Fatal(err)
	}
	return strings.Count(string(data), " eval --json ")
}

func (f *realFlake) fails(name microvm.Name) error {
	f.t.Helper()
	got, err := f.evaluator.Evaluate(f.t.Context(), Source{Ref: f.dir}, name)
	if err == nil {
		f.t.Fatalf("%s: %+v", name, got)
	}
	return err
}

// checkOutput checks that the .drv file was written, and nothing was built.
func checkOutput(t *testing.T, o *microvm.Output, name string) {
	t.Helper()
	if o == nil || !strings.HasSuffix(string(o.Drv), "-"+name+".drv") || !strings.HasSuffix(string(o.Out), "-"+name) {
		t.Fatalf("%s: %+v", name, o)
	}
	if _, err := os.Stat(string(o.Drv)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(string(o.Out)); err == nil {
		t.Errorf("evaluation built %s", o.Out)
	}
}

func TestFullRecord(t *testing.T) {
	f := newRealFlake(t)
	got, _ := f.evaluate("full")
	r := got.Record
	checkOutput(t, &r.Runner, "microvm-qemu-full")
	checkOutput(t, r.System, "nixos-system-full")
	if !strings.HasSuffix(r.Kernel, "-linux-6.12") || !strings.HasSuffix(r.Initrd, "-initrd/initrd") {
		t.Errorf("kernel %q, initrd %q", r.Kernel, r.Initrd)
	}
	if systemd := r.SwitchInhibitors["systemd"]; !strings.HasSuffix(systemd, "-systemd-257") {
		t.Errorf("the inhibitor is %q", systemd)
	} else if _, err := os.Stat(systemd); err == nil {
		t.Errorf("evaluation built %s", systemd)
	}
	delete(r.SwitchInhibitors, "systemd")
	r.Runner, r.System, r.Kernel, r.Initrd = microvm.Output{}, nil, "", ""
	mem, vcpu, size, cid, yes := 512, 2, 256, 7, true
	want := microvm.Record{
		Name: "full", HostName: "full-host", Hypervisor: "qemu", Mem: &mem, VCPU: &vcpu,
		Volumes:    []microvm.Volume{{Image: "var.img", MountPoint: "/var", Size: &size}, {Image: "unsized.img"}},
		Shares:     []microvm.Share{{Tag: "ro-store", Proto: "virtiofs", Source: "/nix/store", MountPoint: "/nix/.ro-store"}},
		Interfaces: []microvm.Interface{{ID: "vm-full", Type: "tap", MAC: "02:00:00:00:00:01"}},
		VsockCID:   &cid, SSH: &yes, SwitchEnabled: &yes,
		SwitchInhibitors: map[string]string{"dbus-implementation": "dbus"}, CredentialFiles: []string{"KEY", "TOKEN"}, ExtraArgsScript: true,
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	if why := got.Record.LiveObstacle(); why != "" {
		t.Error(why)
	}
	// packages.x86_64-linux.ferry throws: it was not taken for the output.
	if host, ok := got.Fleet.HostOf("full"); !ok || host.Address.Host != "server1.example.com" {
		t.Errorf("%+v", got.Fleet)
	}
	if len(got.Warnings) != 0 || !strings.HasPrefix(got.URL, "path:") || got.Revision != "" {
		t.Errorf("%q %q %q", got.Warnings, got.URL, got.Revision)
	}
}

func TestMinimalAndOddRecords(t *testing.T) {
	f := newRealFlake(t)
	minimal, _ := f.evaluate("minimal")
	checkOutput(t, &minimal.Record.Runner, "third-party-runner")
	if diff := cmp.Diff(microvm.Record{Name: "minimal", Runner: minimal.Record.Runner, Volumes: []microvm.Volume{}, Shares: []microvm.Share{}, Interfaces: []microvm.Interface{}}, minimal.Record); diff != "" {
		t.Error(diff)
	}

	odd, _ := f.evaluate("odd")
	checkOutput(t, &odd.Record.Runner, "odd-runner")
	want := microvm.Record{
		Name: "odd", Runner: odd.Record.Runner, Volumes: []microvm.Volume{}, Interfaces: []microvm.Interface{},
		Shares: []microvm.Share{{}, {Tag: "t", Proto: "9p", Source: "/srv"}},
	}
	if diff := cmp.Diff(want, odd.Record); diff != "" {
		t.Error(diff)
	}
	if len(odd.Warnings) != 1 || !strings.Contains(odd.Warnings[0], "toplevel") {
		t.Errorf("%q", odd.Warnings)
	}

	floating, _ := f.evaluate("floating", "--extra-experimental-features", "ca-derivations")
	if r := floating.Record.Runner; r.Out != "" || !strings.HasSuffix(string(r.Drv), "-floating-runner.drv") {
		t.Errorf("%+v", r)
	}
}

func TestNoMicroVM(t *testing.T) {
	f := newRealFlake(t)
	var unknown *UnknownVMError
	if err := f.fails("ful"); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "did you mean `full`?") {
		t.Errorf("%v", err)
	}
	names := []string{"devOutput", "failing", "floating", "full", "minimal", "noConfig", "noRunner", "notADerivation", "odd", "throwing", "throwingRunner"}
	if diff := cmp.Diff(names, unknown.Existing); diff != "" {
		t.Error(diff)
	}
	for name, reason := range map[microvm.Name]string{
		"noRunner":       "it does not define config.microvm.declaredRunner",
		"noConfig":       "it does not define config.microvm.declaredRunner",
		"notADerivation": "its config.microvm.declaredRunner is a string, not a derivation",
		"devOutput":      "its config.microvm.declaredRunner is the output `dev` of a derivation, not `out`",
	} {
		var none *NoRunnerError
		if err := f.fails(name); !errors.As(err, &none) || none.Reason != reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, message := range map[microvm.Name]string{"throwing": "somebody else's broken configuration", "throwingRunner": "the runner does not evaluate"} {
		var failed *EvalError
		if err := f.fails(name); !errors.As(err, &failed) || failed.Message != message || !strings.HasPrefix(failed.Position, "flake.nix:") {
			t.Errorf("%s: %#v", name, err)
		}
	}
	f.write("flake.nix", "{ outputs = { self }: { }; }")
	if err := f.fails("web"); !errors.As(err, &unknown) || len(unknown.Existing) != 0 {
		t.Errorf("%v", err)
	}
	f.write("flake.nix", "{ outputs = { self }: { nixosConfigurations = }; }")
	var failed *EvalError
	if err := f.fails("web"); !errors.As(err, &failed) || !strings.Contains(failed.Message, "syntax error") || !strings.Contains(failed.Position, "flake.nix:1:") {
		t.Errorf("%#v", err)
	}
	f.evaluator.CacheDir = ""
	if _, err := f.evaluator.Evaluate(t.Context(), Source{Ref: f.dir + "/nowhere"}, "web"); !errors.As(err, &failed) || !strings.Contains(failed.Message, "nowhere") {
		t.Errorf("%#v", err)
	}
}

func TestFleetAlone(t *testing.T) {
	f := newRealFlake(t)
	fleet, warnings, err := f.evaluator.Fleet(t.Context(), Source{Ref: f.dir})
	if err != nil || len(warnings) != 0 || fleet.VMs["full"].Target.Host != "full.example.com" {
		t.Errorf("%+v, %q, %v", fleet, warnings, err)
	}
}

func TestCacheHit(t *testing.T) {
	f := newRealFlake(t)
	first, n := f.evaluate("full")
	if n != 1 || first.Cached {
		t.Fatalf("%d evaluations, cached %v", n, first.Cached)
	}
	second, n := f.evaluate("full")
	if n != 0 || !second.Cached {
		t.Errorf("%d evaluations, cached %v", n, second.Cached)
	}
	second.Cached = false
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
	if _, n := f.evaluate("minimal"); n != 1 {
		t.Errorf("another VM: %d evaluations", n)
	}
	if _, n := f.evaluate("full", "--impure"); n != 1 {
		t.Errorf("impure: %d evaluations", n)
	}

	// The garbage collector took the derivation.
	if out, err := exec.Command("nix-store", "--delete", string(first.Record.Runner.Drv)).CombinedOutput(); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	again, n := f.evaluate("full")
	if n != 1 || again.Cached {
		t.Errorf("after a collection: %d evaluations, cached %v", n, again.Cached)
	}
	checkOutput(t, &again.Record.Runner, "microvm-qemu-full")

	t.Setenv("NIX_CONFIG", "substituters =\ncores = 1")
	if _, n := f.evaluate("full"); n != 1 {
		t.Errorf("other settings: %d evaluations", n)
	}
}

// Local overrides must take effect, though no host knows of them.
func TestOverrideInput(t *testing.T) {
	f := newRealFlake(t)
	plain, _ := f.evaluate("full")
	override := []string{"--override-input", "dep", filepath.Join(f.dir, "../other"), "--no-write-lock-file"}
	changed, n := f.evaluate("full", override...)
	if n != 1 || changed.Record.System.Drv == plain.Record.System.Drv {
		t.Errorf("%d evaluations, system %s, before %s", n, changed.Record.System.Drv, plain.Record.System.Drv)
	}
	if _, n := f.evaluate("full", override...); n != 0 {
		t.Errorf("the same again: %d evaluations", n)
	}
	// The options are the same, the content of the override is not.
	f.write("../other/greeting", "good night")
	edited, n := f.evaluate("full", override...)
	if n != 1 || edited.Record.System.Drv == changed.Record.System.Drv {
		t.Errorf("edited: %d evaluations, system %s", n, edited.Record.System.Drv)
	}
	if back, n := f.evaluate("full"); n != 0 || back.Record.System.Drv != plain.Record.System.Drv {
		t.Errorf("without the override: %d evaluations, system %s", n, back.Record.System.Drv)
	}
}

// An edit must never be answered from the cache, committed or not.
func TestEditedFlake(t *testing.T) {
	f := newRealFlake(t)
	edit := func() {
		data, err := os.ReadFile(filepath.Join(f.dir, "flake.nix"))
		if err != nil {
			t.Fatal(err)
		}
		f.write("flake.nix", strings.Replace(string(data), "mem = ", "mem = 1", 1))
	}
	f.evaluate("full")
	edit()
	if got, n := f.evaluate("full"); n != 1 || *got.Record.Mem != 1512 {
		t.Errorf("edited path: %d evaluations, mem %d", n, *got.Record.Mem)
	}

	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", f.dir, "-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %s%v", args, out, err)
		}
	}
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "--message", "x")
	clean, n := f.evaluate("full")
	if n != 1 || len(clean.Revision) != 40 || !strings.HasPrefix(clean.URL, "git+file:") {
		t.Errorf("committed: %d evaluations, revision %q, %s", n, clean.Revision, clean.URL)
	}
	edit()
	dirty, n := f.evaluate("full")
	if n != 1 || *dirty.Record.Mem != 11512 || dirty.Revision != clean.Revision+"-dirty" {
		t.Errorf("dirty: %d evaluations, mem %d, revision %q", n, *dirty.Record.Mem, dirty.Revision)
	}
	if _, n := f.evaluate("full"); n != 0 {
		t.Errorf("dirty, unchanged: %d evaluations", n)
	}
	edit()
	if got, n := f.evaluate("full"); n != 1 || *got.Record.Mem != 111512 {
		t.Errorf("dirty again: %d evaluations, mem %d", n, *got.Record.Mem)
	}
}

func TestBuildOfARecord(t *testing.T) {
	f := newRealFlake(t)
	minimal, _ := f.evaluate("minimal")
	failing, _ := f.evaluate("failing")
	n := f.evaluator.Nix
	outs, err := n.Build(t.Context(), "", minimal.Record.Runner.Drv)
	if err != nil || len(outs) != 1 || outs[0] != minimal.Record.Runner.Out {
		t.Errorf("%q, %v", outs, err)
	}
	if out, err := exec.Command("nix-store", "--delete", string(minimal.Record.Runner.Out)).CombinedOutput(); err != nil {
		t.Errorf("%s%v", out, err)
	}
	_, err = n.Build(t.Context(), "", failing.Record.Runner.Drv)
	var failed *nix.BuildError
	if !errors.As(err, &failed) || !strings.HasSuffix(string(failed.Derivation), "-inner.drv") {
		t.Fatalf("%#v", err)
	}
	if got := strings.Join(failed.LogTail, "|"); got != "working 1|working 2|working 3|it broke" || !strings.Contains(failed.Message, "exit code 3") {
		t.Errorf("log %q, message %q", got, failed.Message)
	}
}

// What a key press evaluates reaches nothing: no lock file, no build, no network,
// though the flake wants each of them.
func TestOutlineOfARealFlake(t *testing.T) {
	f := newRealFlake(t)
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer server.Close()
	outline := func() (Outline, error) {
		data, err := f.evaluator.Outline(t.Context(), f.dir)
		if err != nil {
			return Outline{}, err
		}
		return DecodeOutline(data)
	}
	o, err := outline()
	if err != nil || o.Hosts["server1"].String() != "root@server1.example.com" || o.VMs["full"].Host != "server1" || len(o.VMs) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "flake.lock")); err == nil {
		t.Error("a lock file was written")
	}
	f.write("flake.nix", `{ outputs = _: {
      ferry = { hosts.a.address = throw "x"; hosts.b.address = 1; hosts.c.address = "root@c"; };
      nixosConfigurations = { web = throw "not to be evaluated"; db = { }; };
    }; }`)
	if o, err = outline(); err != nil || len(o.Hosts) != 1 || len(o.VMs) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for what, expression := range map[string]string{
		"a build":    `import (derivation { name = "x"; system = builtins.currentSystem or "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo { } >$out" ]; })`,
		"a download": `import (fetchTarball { url = "` + server.URL + `/x.tar.gz"; sha256 = "0000000000000000000000000000000000000000000000000000"; })`,
		"a clone":    `import (fetchGit { url = "` + server.URL + `/x.git"; rev = "0000000000000000000000000000000000000000"; })`,
	} {
		f.write("flake.nix", `{ outputs = _: { ferry = `+expression+`; }; }`)
		if o, err := outline(); err == nil {
			t.Errorf("%s: no error, %+v", what, o)
		}
	}
	if asked > 0 {
		t.Errorf("the server was asked %d times", asked)
	}
}
