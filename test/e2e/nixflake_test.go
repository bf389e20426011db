//go:build lab

package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// flakeTree is this source as a repository on the operator, with a lock file that
// has the stand-in for nixpkgs, and all in one commit.
type flakeTree struct {
	t   *testing.T
	dir string
}

func newFlakeTree(t *testing.T) *flakeTree {
	t.Helper()
	f := &flakeTree{t: t, dir: "/root/t/" + t.Name()}
	t.Cleanup(func() {
		// Other tests look for the lab's secrets, which this source has, everywhere.
		err := world.operator.Run(context.Background(), lab.Cmd{
			Args: []string{"sh", "-euc", `rm -rf "$1" /root/t/template /root/built-ferry; nix-collect-garbage --quiet`, "sh", f.dir},
		})
		if err != nil {
			t.Error(err)
		}
	})
	// What the stand-in takes modules from must have those of go.sum.
	here(t, "go", "mod", "download")
	tree := here(t, "sh", "-c", "git ls-files -z --cached --others --exclude-standard | tar --null --no-recursion --ignore-failed-read -c -T -")
	err := world.operator.Run(t.Context(), lab.Cmd{
		Args:  []string{"sh", "-euc", `rm -rf "$1" && mkdir -p "$1" && tar -x -C "$1"`, "sh", f.dir},
		Stdin: strings.NewReader(tree),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.sh(`export GIT_AUTHOR_DATE=2026-01-02T03:04:05Z GIT_COMMITTER_DATE=2026-01-02T03:04:05Z
git init -q && git add -A
nix flake lock --override-input nixpkgs "path:$PWD/nix/standin/nixpkgs"
git add -A && git commit -qm 'All of it'`)
	return f
}

// here runs a command in the source on this machine.
func here(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = "../.."
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, errs.String())
	}
	return string(out)
}

func (f *flakeTree) run(script string) (string, error) {
	var out bytes.Buffer
	err := world.operator.Run(f.t.Context(), lab.Cmd{
		Args: []string{"bash", "-euo", "pipefail", "-c", "exec 2>&1\n" + script}, Dir: f.dir, Stdout: &out,
	})
	return strings.TrimSpace(out.String()), err
}

func (f *flakeTree) sh(script string) string {
	f.t.Helper()
	out, err := f.run(script)
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// fails wants a script to fail and to say all of the texts; what it has changed in
// the tree is put back.
func (f *flakeTree) fails(what, script string, texts ...string) {
	f.t.Helper()
	out, err := f.run(script)
	f.sh("git checkout -q .")
	if err == nil {
		f.t.Errorf("%s: it works: %s", what, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			f.t.Errorf("%s: %q is missing in: %s", what, text, out)
		}
	}
}

// standin is what users of the real nixpkgs leave out.
const standin = ` --no-write-lock-file --override-input nixpkgs "path:$PWD/nix/standin/nixpkgs" `

// The flake's package as a user has it, and what becomes of it when the source
// changes.
func TestFlakeOfFerry(t *testing.T) {
	f := newFlakeTree(t)
	f.sh("nix build --out-link /root/built-ferry" + standin)
	revision := f.sh("git rev-parse HEAD")[:12]
	version := "ferry version development (commit " + revision + " of 2026-01-02T03:04:05Z"
	for _, command := range []string{"/root/built-ferry/bin/ferry --version", "nix run" + standin + ".#ferry -- --version"} {
		if got := f.sh(command); !strings.HasSuffix(got, version+")") {
			t.Errorf("%s: %s, wanted %s)", command, got, version)
		}
	}

	t.Run("contains all", func(t *testing.T) { f.contents() })
	t.Run("checks", func(t *testing.T) {
		f.sh("nix flake check" + standin)
		// Nix's own hashing, of the folder that ferry was built from.
		got := f.sh(`nix hash path "$(nix build --no-link --print-out-paths` + standin + `.#ferry.goModules)"`)
		if want := f.sh("nix eval --raw --file nix/vendor-hash.nix hash"); got != want {
			t.Errorf("the modules' folder is %s, and nix/vendor-hash.nix says %s", got, want)
		}
	})
	t.Run("modules", func(t *testing.T) { f.modules() })
	t.Run("other systems", func(t *testing.T) {
		for _, system := range []string{"aarch64-linux", "x86_64-darwin", "aarch64-darwin"} {
			if got := f.sh("nix eval --raw" + standin + ".#packages." + system + ".ferry.drvPath"); !strings.HasSuffix(got, "-ferry-0-unstable-2026-01-02.drv") {
				t.Errorf("%s: %s", system, got)
			}
		}
		f.fails("a system that ferry isn't for", "nix build"+standin+".#packages.i686-linux.ferry", "does not provide")
	})
	t.Run("shell", func(t *testing.T) {
		if got := f.sh("nix develop" + standin + "-c go version"); !strings.Contains(got, "go version go1.") {
			t.Error(got)
		}
	})
	t.Run("changed tree", func(t *testing.T) {
		f.sh("echo >>README.md; echo >docs/new.md; git add -N docs/new.md")
		build := "nix eval --raw" + standin + ".#ferry.outPath 2>/dev/null"
		first := f.sh(build)
		f.sh("echo >>README.md; echo >>test/e2e/main_test.go")
		if second := f.sh(build); first != second {
			t.Error("a change of a document and a test builds ferry again")
		}
		f.sh("echo >>internal/cli/main.go")
		if third := f.sh(build); first == third {
			t.Error("a change of ferry doesn't build it again")
		}
		// Not built: the time is better spent elsewhere.
		if got := f.sh("nix derivation show" + standin + ".#ferry 2>/dev/null"); !strings.Contains(got, "-date 2026-01-02T03:04:05Z -modified") {
			t.Errorf("the build isn't told of the changes: %s", got)
		}
		f.sh("git rm -qf --cached docs/new.md; rm docs/new.md; git checkout -q .")
	})
	t.Run("modules moved", func(t *testing.T) {
		f.fails("go.mod moved, and the hash didn't", "echo '// moved' >>go.mod; nix flake check"+standin, "run `make vendor-hash`")
		f.fails("the hash of another folder",
			`sed -i 's/hash = "sha256-..../hash = "sha256-AAAA/' nix/vendor-hash.nix; nix build`+standin+".#checks.x86_64-linux.vendor-hash", "hash mismatch", "got:")
	})
	t.Run("old Go", func(t *testing.T) {
		f.fails("a nixpkgs whose Go is too old", `sed -i 's/version = "1.26.*"/version = "1.25.3"/' nix/standin/nixpkgs/pkgs.nix; nix build`+standin,
			"ferry needs Go 1.26.0, and this nixpkgs has 1.25.3: update the input")
	})
	t.Run("deploys", func(t *testing.T) {
		in := newInfra(t, "", map[string]string{"fromnix": vmModule("fromnix")})
		built := lab.Cmd{Args: []string{"env", "PATH=/root/built-ferry/bin:/usr/bin:/bin"}}
		if got := in.ferryWith(built, "--version"); !strings.Contains(got.stdout, revision) {
			t.Errorf("another ferry: %s", got)
		}
		in.ferryWith(built, "rebuild", "fromnix", "root@host1", "--json").want(0, string(result.OutcomeStarted))
	})
	t.Run("template", func(t *testing.T) { f.template(t) })
}

// template makes a flake of the template, as its README says, and deploys its VM
// with the ferry that Nix has built: first its container guest is booted, then it
// is switched live. The VM has another name, since the lab has its own `web`, and a
// runner that needs no emulation.
func (f *flakeTree) template(t *testing.T) {
	const name = "leaf"
	forget(t, name)
	mine := &flakeTree{t: t, dir: "/root/t/template"}
	f.sh("rm -rf " + mine.dir + "; mkdir " + mine.dir)
	mine.sh("nix flake init -t git+file://" + f.dir)
	mine.sh("grep -q 'nixos-unstable' flake.nix; grep -q 'github:microvm-nix/microvm.nix' flake.nix")
	mine.sh("sed -i 's|git+file:///path/to/ferry|git+file://" + f.dir + "|; s|server.example.com|host1|; s|10.0.0.2|box|; s|\\bweb\\b|" + name + "|g' flake.nix")
	mine.sh(`sed -i 's|"web"|"` + name + `"|; s|"vm-web"|"vm-` + name + `"|; s|hypervisor = "qemu"|hypervisor = "process"|' vms/web.nix; mv vms/web.nix vms/` + name + `.nix`)
	mine.sh("git init -q; git add .; nix flake lock --override-input nixpkgs path:" + f.dir + "/nix/standin/nixpkgs" +
		" --override-input microvm 'git+file://" + f.dir + "?dir=nix/standin/microvm'; git add .; git commit -qm 'From the template'")

	update := "nix run .#microvm-update-" + name
	// The container at the address may still be another VM.
	if got := mine.sh(update + " -- --dry-run --no-guest"); !strings.Contains(got, "start it (the VM is new)") {
		t.Error(got)
	}
	if got := mine.sh(update + " -- --restart=never --no-guest"); !strings.Contains(got, "installed on root@host1") {
		t.Error(got)
	}
	vm := onHost(t, world.host1, name)
	vm.systemctl("start")
	output(t, world.guest1, "sh", "-c", "rm -f /nix/var/nix/profiles/system*")
	vm.boot(world.guest1)
	mine.sh("sed -i '$d' vms/" + name + ".nix; echo '  services.page = { enable = true; text = \"a page\"; }; }' >>vms/" + name + ".nix")
	if got := mine.sh(update); !strings.Contains(got, "switched live on root@host1") {
		t.Error(got)
	}
	if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, "a page") {
		t.Errorf("the page is %s", got)
	}
	if got := mine.sh("nix run .#nixosConfigurations." + name + ".config.microvm.deploy.rebuild root@host1 root@box switch"); !strings.Contains(got, "unchanged on root@host1") {
		t.Error(got)
	}
	// What a NixOS server imports.
	if got := mine.sh("nix eval --json .#nixosModules.server --apply 'm: builtins.length m.imports' 2>/dev/null"); got != "3" {
		t.Errorf("the server's module has %s imports", got)
	}
}

// contents checks what is installed beside the program and inside it.
func (f *flakeTree) contents() {
	f.sh(`cd /root/built-ferry
for platform in linux-amd64 linux-arm64; do grep -qaF "helpers/$platform.gz" bin/ferry; done
for file in share/man/man1/ferry-rebuild.1.gz share/bash-completion/completions/ferry share/zsh/site-functions/_ferry share/fish/vendor_completions.d/ferry.fish; do
	[ -s "$file" ] || { echo "$file is missing"; exit 1; }
done
refers=$(nix-store --query --references "$(readlink -f .)")
[ -z "$refers" ] || { echo "ferry refers to $refers"; exit 1; }`)
}

// modules are the flake's own, beside stand-ins for microvm.nix's: they bring this
// flake's package.
func (f *flakeTree) modules() {
	f.t.Helper()
	expression := `let
  flake = builtins.getFlake "git+file://$PWD";
  system = module: (flake.inputs.nixpkgs.lib.nixosSystem {
    system = "x86_64-linux";
    modules = [ { networking.hostName = "web"; services.openssh.enable = true; } ] ++ module;
  }).config;
  vm = system [ "\${flake}/nix/standin/microvm/microvm.nix" flake.nixosModules.deploy ];
  host = system [ "\${flake}/nix/standin/microvm/host.nix" flake.nixosModules.host ];
  ferry = flake.packages.x86_64-linux.ferry.drvPath;
in [ (vm.ferry.deploy.package.drvPath == ferry) (host.ferry.host.package.drvPath == ferry) vm.microvm.deploy.rebuild.name ]`
	got := f.sh("nix eval --impure --json --expr \"$(cat <<END\n" + expression + "\nEND\n)\"")
	if want := `[true,true,"microvm-rebuild"]`; got != want {
		f.t.Errorf("with the modules: %s, wanted %s", got, want)
	}
}
