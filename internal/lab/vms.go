package lab

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// ProcessVM is the text of a module: a VM of the lab's library whose runner is a
// mere process, with the given lines besides.
func ProcessVM(hostName string, lines ...string) string {
	return vm(hostName, append([]string{`microvm.hypervisor = "process";`, `microvm.mem = 256;`, `services.openssh.enable = false;`}, lines...))
}

// LiveVM is a ProcessVM whose system can be switched while it runs: one of the
// lab's container guests plays it. Its web server shows the page.
func LiveVM(hostName, page string, lines ...string) string {
	return vm(hostName, append([]string{
		`microvm.hypervisor = "process";`, `microvm.mem = 256;`, sharedStore,
		`services.page.enable = true;`, fmt.Sprintf(`services.page.text = %q;`, page),
	}, lines...))
}

const sharedStore = `microvm.shares = [{ tag = "ro-store"; source = "/nix/store"; mountPoint = "/nix/.ro-store"; }];`

func vm(hostName string, lines []string) string {
	return fmt.Sprintf("{ packages, site, ... }:\n{\n  networking.hostName = %q;\n  %s\n}\n", hostName, strings.Join(lines, "\n  "))
}

// WriteFlake makes dir on the operator a flake in a new git repository, committed
// and locked. modules are its nixosConfigurations; ferry is the Nix text of its
// `ferry` output, empty for none.
func (l *Lab) WriteFlake(ctx context.Context, dir, ferry string, modules map[string]string) error {
	if ferry == "" {
		ferry = "{ }"
	}
	op := l.machines[0]
	if _, err := op.Output(ctx, "sh", "-c", `rm -rf "$1" && mkdir -p "$1"`, "sh", dir); err != nil {
		return err
	}
	var vms strings.Builder
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		if err := l.WriteFile(ctx, path.Join(dir, name+".nix"), modules[name]); err != nil {
			return err
		}
		fmt.Fprintf(&vms, "      %s = vm ./%s.nix;\n", name, name)
	}
	flake := `{
  inputs = {
    microvm.url = "git+file:///root/microvm.nix";
    site = { url = "path:/root/site"; flake = false; };
  };
  outputs = { self, microvm, site }: let
    vm = module: microvm.lib.microvmSystem { inherit module; inputs = { inherit site; }; };
  in {
    nixosConfigurations = {
` + vms.String() + `    };
    ferry = ` + ferry + `;
  };
}
`
	if err := l.WriteFile(ctx, path.Join(dir, "flake.nix"), flake); err != nil {
		return err
	}
	var said bytes.Buffer
	err := op.Run(ctx, Cmd{Dir: dir, Stdout: &said, Args: []string{"sh", "-c",
		"git init -q -b main && git add . && git commit -qm begin && nix flake lock && git add . && git commit -qm lock"}})
	if err != nil {
		return fmt.Errorf("making the flake in %s: %w\n%s", dir, err, &said)
	}
	return nil
}

// WriteFile writes a file on the operator. In a git repository it is then known
// to git but not committed, as a user's edit.
func (l *Lab) WriteFile(ctx context.Context, file, content string) error {
	err := l.machines[0].Run(ctx, Cmd{
		Args:  []string{"sh", "-c", `cat >"$1" && cd "$(dirname "$1")" && { git add "$1" 2>/dev/null || :; }`, "sh", file},
		Stdin: strings.NewReader(content),
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// ForgetVM stops a VM of a host and removes all that ferry keeps of it there.
func (m *Machine) ForgetVM(ctx context.Context, name string) error {
	_, err := m.Output(ctx, "sh", "-c", `[ -e "/var/lib/microvms/$1" ] || [ -e "/var/lib/ferry/vms/$1" ] || exit 0
systemctl stop "microvm@$1" && systemctl reset-failed "microvm*@$1.service" 2>/dev/null; cd / && rm -rf "/var/lib/microvms/$1" "/var/lib/ferry/vms/$1" \
  "/nix/var/nix/profiles/ferry/$1" "/nix/var/nix/gcroots/ferry/$1" \
  "/nix/var/nix/gcroots/microvm/$1" "/nix/var/nix/gcroots/microvm/booted-$1" "/nix/var/nix/gcroots/microvm/old-$1"`, "sh", name)
	if err != nil {
		return fmt.Errorf("removing %s from %s: %w", name, m.Name, err)
	}
	return nil
}
