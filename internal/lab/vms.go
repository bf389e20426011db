package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
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
	if err := os.RemoveAll(op.Path(dir)); err != nil {
		return err
	}
	if err := os.MkdirAll(op.Path(dir), 0o755); err != nil {
		return err
	}
	lock, err := os.ReadFile(op.Path(flakeLock))
	if err != nil {
		return err
	}
	files := map[string]string{"flake.lock": string(lock)}
	var vms strings.Builder
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		files[name+".nix"] = modules[name]
		fmt.Fprintf(&vms, "      %q = vm ./%s.nix;\n", name, name)
	}
	files["flake.nix"] = `{
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
	for name, content := range files {
		if err := os.WriteFile(op.Path(path.Join(dir, name)), []byte(content), 0o644); err != nil {
			return err
		}
	}
	var said bytes.Buffer
	err = op.Run(ctx, Cmd{Dir: dir, Stdout: &said, Args: []string{"sh", "-c", "git init -q -b main && git add . && git commit -qm begin"}})
	if err != nil {
		return fmt.Errorf("making the flake in %s: %w\n%s", dir, err, &said)
	}
	return nil
}

// WriteFile writes a file on the operator. In a git repository it is then known
// to git but not committed, as a user's edit.
func (l *Lab) WriteFile(ctx context.Context, file, content string) error {
	op := l.machines[0]
	_, err := os.Stat(op.Path(file))
	isNew := errors.Is(err, fs.ErrNotExist)
	if err := os.WriteFile(op.Path(file), []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if !isNew {
		return nil
	}
	if _, err := op.Output(ctx, "sh", "-c", `cd "$(dirname "$1")" && { git add "$1" 2>/dev/null || :; }`, "sh", file); err != nil {
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
