//go:build lab

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// atHome is a user's flake with ferry's module and apps, and stand-ins for nixpkgs
// and microvm.nix. The package of ferry is the lab's.
type atHome struct {
	*infra
	ferry string // ferry's tree on the operator
}

func newAtHome(t *testing.T, name, page string) *atHome {
	t.Helper()
	forget(t, name)
	in := &atHome{infra: &infra{t: t, dir: "/root/t/at-home"}, ferry: "/root/t/at-home-ferry"}
	output(t, world.operator, "sh", "-euc", `rm -rf "$1" "$2"; mkdir -p "$1" "$2"`, "sh", in.dir, in.ferry)
	for _, part := range []string{"nix", "internal/flake/record.nix", "internal/lab/flake/microvm/lib"} {
		to := world.operator.Path(filepath.Join(in.ferry, part))
		out, err := exec.Command("sh", "-euc", `mkdir -p "$(dirname "$2")"; cp -a "$1" "$2"`, "sh", filepath.Join("../..", part), to).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	ferry := &infra{t: t, dir: in.ferry}
	ferry.write("flake.nix", `{
  outputs = { self }: let
    system = "x86_64-linux";
    nixpkgs.legacyPackages.${system} = import ./nix/standin/nixpkgs { inherit system; };
    ferry = self // { inputs = { inherit nixpkgs; }; };
  in {
    packages.${system}.ferry = nixpkgs.legacyPackages.${system}.runCommand "ferry" { } "mkdir -p $out/bin; cp /usr/local/bin/ferry $out/bin/";
    nixosModules.deploy = import ./nix/modules/deploy.nix { inherit ferry; };
    lib = import ./nix/lib.nix { inherit ferry; };
  };
}
`)
	in.write("flake.nix", strings.NewReplacer("NAME", name, "FERRY", in.ferry).Replace(`{
  inputs.ferry.url = "path:FERRY";
  inputs.nixpkgs.url = "path:FERRY?dir=nix/standin/nixpkgs";
  inputs.microvm.url = "path:FERRY?dir=nix/standin/microvm";
  outputs = { self, ferry, nixpkgs, microvm }: {
    nixosConfigurations.NAME = import "${nixpkgs}/nixos.nix" { inherit (nixpkgs) lib; pkgsFor = s: nixpkgs.legacyPackages.${s}; } {
      system = "x86_64-linux";
      modules = [
        microvm.nixosModules.microvm
        ferry.nixosModules.deploy
        ./NAME.nix
        { ferry.deploy = { revision = self.rev or self.dirtyRev or null; inherit (self) lastModified; }; }
      ];
    };
    nixosConfigurations.broken = throw "broken is evaluated";
    ferry = {
      hosts.host1.address = "root@host1";
      vms.NAME = { host = "host1"; target = "root@box"; };
      vms.broken.host = "host1";
    };
    apps = ferry.lib.apps { inherit self; systems = [ "x86_64-linux" ]; };
  };
}
`))
	// The same without a flake.
	in.write("default.nix", strings.NewReplacer("NAME", name, "FERRY", in.ferry).Replace(`{ page, nixpkgs ? FERRY/nix/standin/nixpkgs }:
let
  pkgsFor = system: import nixpkgs { inherit system; };
  nixosSystem = import "${nixpkgs}/nixos.nix" { inherit (pkgsFor "x86_64-linux") lib; inherit pkgsFor; };
in {
  NAME = nixosSystem {
    system = "x86_64-linux";
    modules = [ FERRY/nix/standin/microvm/microvm.nix ./NAME.nix { services.page.text = (pkgsFor "x86_64-linux").lib.mkForce page; } ];
  };
}
`))
	in.page(name, page)
	in.op("sh", "-euc", `cd "$1"; git init -q; git add -A; git commit -qm first`, "sh", in.dir)
	return in
}

func (in *atHome) page(name, text string) {
	in.t.Helper()
	in.write(name+".nix", fmt.Sprintf(`{
  networking.hostName = %q;
  services.openssh.enable = true;
  services.page = { enable = true; text = %q; };
  microvm.mem = 256;
  microvm.shares = [{ tag = "ro-store"; source = "/nix/store"; mountPoint = "/nix/.ro-store"; }];
}
`, name, text))
}

// run runs a program on the operator in the flake's directory.
func (in *atHome) run(args ...string) *ran {
	in.t.Helper()
	var out, errs bytes.Buffer
	err := world.operator.Run(in.t.Context(), lab.Cmd{Args: args, Dir: in.dir, Stdout: &out, Stderr: &errs})
	r := &ran{t: in.t, args: args, stdout: out.String(), stderr: errs.String()}
	var re *lab.RunError
	switch {
	case errors.As(err, &re):
		r.code = re.ExitCode
	case err != nil:
		in.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return r
}

func (in *atHome) nixRun(what string, args ...string) *ran {
	in.t.Helper()
	return in.run(append([]string{"nix", "run", ".#" + what}, args...)...)
}

// The commands that microvm.nix documents run ferry, and so does
// `nix run .#microvm-update-NAME`: with one evaluation in all, and nothing built on
// the operator but the commands themselves. microvm-nix/microvm.nix#335
func TestDocumentedCommandsRunFerry(t *testing.T) {
	const name = "athome"
	in := newAtHome(t, name, "first")
	vm := onHost(t, world.host1, name)
	commandOf := "nixosConfigurations." + name + ".config.microvm.deploy."

	if bad := in.op("nix", "eval", "--impure", "--json", "--file", in.ferry+"/nix/tests/deploy.nix", "--apply", "f: builtins.filter (t: !t.ok) (f { })"); bad != "[]" {
		t.Errorf("tests in Nix fail: %s", bad)
	}

	in.nixRun(commandOf+"rebuild").want(2, "usage: nix run .#"+commandOf+"rebuild -- root@HOST root@TARGET [--use-remote-sudo] [switch")
	in.nixRun(commandOf+"installOnHost", "root@host1").want(0, "installed on root@host1 as generation 1")
	vm.systemctl("start")
	output(t, world.guest1, "sh", "-c", "rm -f /nix/var/nix/profiles/system*")
	vm.boot(world.guest1)

	in.page(name, "second")
	calls := spyOnNix(t, world.operator)
	in.nixRun(commandOf+"rebuild", "root@host1", "root@box", "switch").want(0, "switched live")
	said := calls()
	if strings.Count(said, "nix run ") != 1 || strings.Contains(said, " eval ") || strings.Contains(said, "flake metadata") || !strings.Contains(said, "copy --derivation") {
		t.Errorf("the command evaluated again, or the spy saw nothing:\n%s", said)
	}
	page := func(want string) {
		t.Helper()
		if got := output(t, world.guest1, "curl", "-s", "http://localhost/"); !strings.Contains(got, want) {
			t.Errorf("the page is %s", got)
		}
	}
	page("second")
	if got := in.op("sh", "-c", `ls -d "$1" 2>&1 || :`, "sh", vm.link("current")); !strings.Contains(got, "No such file") {
		t.Errorf("the runner was built on the operator: %s", got)
	}
	head := in.op("git", "-C", in.dir, "rev-parse", "HEAD")
	in.infra.ferry("history", name).want(0, head[:12])

	in.page(name, "third")
	in.nixRun(commandOf+"installOnHost", "root@host1").want(0, "installed")
	in.nixRun(commandOf+"sshSwitch", "root@box", "switch").want(0, "switched live")
	page("third")

	// By the addresses of the `ferry` output, without the VM that is broken.
	in.page(name, "fourth")
	in.nixRun("microvm-update-"+name).want(0, "switched live")
	page("fourth")
	in.nixRun("rebuild-"+name, "--", "--json").want(0, `"unchanged"`)
	in.nixRun("deploy", name).want(0, "unchanged on root@host1")
	in.nixRun("microvm-update-broken").want(1, "broken is evaluated")

	// Kept, the command deploys what it was evaluated to; a copy of what it gives to
	// ferry may outlive that.
	in.page(name, "fifth")
	in.op("sh", "-euc", `cd "$1"; nix build -o /root/t/at-home-kept ".#$2rebuild"
sed -n 's/.*--evaluation \([^ ]*\) .*/\1/p' /root/t/at-home-kept/bin/microvm-rebuild | { read -r file; cp "$file" /root/t/at-home.json; }`, "sh", in.dir, commandOf)
	in.page(name, "sixth")
	in.op("nix-collect-garbage")
	in.run("/root/t/at-home-kept/bin/microvm-rebuild", "root@host1", "root@box").want(0, "switched live")
	page("fifth")
	in.op("rm", "/root/t/at-home-kept")
	in.op("nix-collect-garbage")
	before := connections(t, world.host1)
	in.infra.ferry("rebuild", name, "--evaluation", "/root/t/at-home.json").want(1, "not in this machine's store any more", "nothing was changed", "evaluate again")
	if got := connections(t, world.host1) - before; got != 0 {
		t.Errorf("%d connections to the host", got)
	}

	// microvm-nix/microvm.nix#452
	in.infra.ferry("rebuild", name, "--file", ".", "root@host1", "root@box").want(1, "needs a value for `page`")
	in.infra.ferry("rebuild", name, "--file", "default.nix", "--argstr", "page", `"$HOME"`, "root@host1", "root@box").want(0, "switched live")
	page(`"$HOME"`)
	in.infra.ferry("rebuild", "wbe", "--file", "./default.nix", "--argstr", "page", "x", toHost1).want(1, "./default.nix has no nixosConfigurations.wbe", "there are: "+name)
	if got := in.infra.ferry("rebuild", name, "--file", ".", "--argstr", "page", `"$HOME"`, "--json", "root@host1", "root@box").want(0).result(); got.Outcome != result.OutcomeUnchanged {
		t.Errorf("%+v", got)
	}
}
