package setup

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"ferry/internal/host/units"
	"ferry/internal/host/vmstate"
)

// What a host has. STATEDIR is root's, and so is what matters in it: the user
// that hypervisors run as can change none of it.
const (
	stateDir   = vmstate.DefaultStateDir
	libDir     = "/var/lib/ferry"
	unitDir    = "/etc/systemd/system"
	wantsDir   = unitDir + "/multi-user.target.wants"
	binDir     = "/usr/local/bin"
	userName   = "microvm"
	groupName  = "kvm"
	ferryPath  = binDir + "/ferry"
	helperPath = binDir + "/ferry-helper"
	dropInPath = binDir + "/microvm" // the helper under this name is microvm.nix's command

	// packaged is where a package of a distribution has ferry, which updates it.
	packaged = "/usr/bin/ferry"

	// formerDropIn is where an older ferry, which was its own helper, linked it to.
	formerDropIn = "ferry"
)

// item is a file, link or directory that a host has.
type item struct {
	path    string
	content []byte // of a file
	target  string // of a link
	former  string // the target that an older ferry gave it
	mode    fs.FileMode
	dir     bool
	// optional: where somebody else's is in the way, setup goes on without.
	optional bool
	binary   bool
}

func (i item) kind() string {
	switch {
	case i.dir:
		return "directory"
	case i.target != "":
		return "link"
	}
	return "file"
}

// wanted lists what a host has, in the order in which it is made.
func (s *Setup) wanted() ([]item, error) {
	helper, err := s.programs.Helper()
	if err != nil {
		return nil, fmt.Errorf("finding the helper to install: %w", err)
	}
	items := []item{
		{path: libDir, dir: true, mode: 0o700},
		{path: stateDir, dir: true, mode: 0o755},
		{path: helperPath, content: helper, mode: 0o755, binary: true},
		{path: dropInPath, target: "ferry-helper", former: formerDropIn, optional: true},
	}
	if s.hasPackage() {
		// A copy would be found before the package's, and stay as it is while
		// that is updated.
		items = append(items, item{path: ferryPath, target: packaged, optional: true})
	} else if s.programs.Ferry != nil {
		ferry, err := s.programs.Ferry()
		if err != nil {
			return nil, fmt.Errorf("reading ferry's own program: %w", err)
		}
		items = append(items, item{path: ferryPath, content: ferry, mode: 0o755, binary: true, optional: true})
	}
	for _, u := range units.All() {
		items = append(items, item{path: unitDir + "/" + u.Name, content: []byte(u.Content), mode: 0o644})
	}
	// As `systemctl enable` makes them.
	for _, unit := range []string{"microvms.target", "ferry-settle.service"} {
		items = append(items, item{path: wantsDir + "/" + unit, target: unitDir + "/" + unit})
	}
	return items, nil
}

// hasPackage reports whether this machine has ferry from a package.
func (s *Setup) hasPackage() bool {
	fi, err := os.Lstat(s.path(packaged))
	return err == nil && fi.Mode().IsRegular()
}

// withoutFerry says what this host lacks where ferry itself is not at hand.
func (s *Setup) withoutFerry() string {
	if s.programs.Ferry != nil || s.hasPackage() {
		return ""
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	what := "ferry itself is not installed, which timers and `ferry … local` need"
	if _, err := os.Lstat(s.path(ferryPath)); err == nil {
		what = ferryPath + " stays as it is"
	}
	return what + ": the one that you use does not run on this host, or has no helper for " + platform + " in it; " +
		"copy a ferry for " + platform + " there that `make build` made, and run its `ferry host setup local`"
}

// nixosAdvice is what a NixOS host needs instead.
const nixosAdvice = `# In the flake of the host's own configuration:
{
  inputs.microvm.url = "github:microvm-nix/microvm.nix";
  inputs.microvm.inputs.nixpkgs.follows = "nixpkgs";
  inputs.ferry.url = "github:example/ferry"; # or wherever you have its source from
  outputs = { nixpkgs, microvm, ferry, ... }: {
    nixosConfigurations.HOST = nixpkgs.lib.nixosSystem {
      modules = [
        microvm.nixosModules.host
        ferry.nixosModules.host # settling at boot, timers and more: docs/nix.md
        {
          microvm.autostart = [ ]; # names of the VMs that start with the host
          ferry.host.enable = true;
        }
      ];
    };
  };
}
`

// isUnit reports whether systemd reads path.
func isUnit(path string) bool { return strings.HasPrefix(path, unitDir+"/") }
