package setup

import (
	"fmt"
	"io/fs"
	"os"
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
	dropInPath = binDir + "/microvm" // ferry under this name is microvm.nix's command
)

// item is a file, link or directory that a host has.
type item struct {
	path    string
	content []byte // of a file
	target  string // of a link
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
	ferry, err := os.ReadFile(s.binary)
	if err != nil {
		return nil, fmt.Errorf("reading ferry's own binary: %w", err)
	}
	items := []item{
		{path: libDir, dir: true, mode: 0o700},
		{path: stateDir, dir: true, mode: 0o755},
		{path: ferryPath, content: ferry, mode: 0o755, binary: true, optional: true},
		{path: dropInPath, target: "ferry", optional: true},
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

// nixosAdvice is what a NixOS host needs instead.
const nixosAdvice = `# In the flake of the host's own configuration:
{
  inputs.microvm.url = "github:microvm-nix/microvm.nix";
  inputs.microvm.inputs.nixpkgs.follows = "nixpkgs";
  outputs = { nixpkgs, microvm, ... }: {
    nixosConfigurations.HOST = nixpkgs.lib.nixosSystem {
      modules = [
        microvm.nixosModules.host
        { microvm.autostart = [ ]; } # names of the VMs that start with the host
      ];
    };
  };
}
`

// isUnit reports whether systemd reads path.
func isUnit(path string) bool { return strings.HasPrefix(path, unitDir+"/") }
