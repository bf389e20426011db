package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ferry/internal/host/units"
	"ferry/internal/nix"
)

// oldestSystemd is the oldest version that has all that the units use.
const oldestSystemd = 247

// OutcomeNixOS: the machine runs NixOS, whose configuration makes it a host.
const OutcomeNixOS Outcome = "nixos"

// look finds out whether the machine can be made a host. It returns a Report
// where there is nothing for setup to do here.
func (s *Setup) look(ctx context.Context) (*Report, error) {
	other, err := s.foreignUnits(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case s.nixos() && other != "":
		return &Report{Outcome: OutcomeOther, Warnings: []string{"this NixOS has microvm.nix's units (" + other + "): it is a host already"}, Advice: nixosAdvice}, nil
	case s.nixos():
		return &Report{Outcome: OutcomeNixOS, Advice: nixosAdvice}, nil
	case other != "":
		return &Report{Outcome: OutcomeOther, Warnings: []string{"units that are not ferry's run MicroVMs here (" + other + "): it is a host already"}}, nil
	}
	version, err := s.sys.systemdVersion()
	if err != nil {
		return nil, err
	}
	if n, ok := leadingNumber(version); !ok || n < oldestSystemd {
		return nil, refuse(fmt.Sprintf("this machine has systemd %s, ferry's units need %d or newer", version, oldestSystemd), "upgrade the machine's distribution")
	}
	found, err := s.sys.nixVersion(ctx)
	if errors.Is(err, nix.ErrNoNix) {
		return nil, refuse(err.Error(), "install Nix on the host (https://nixos.org/download, or the distribution's package)")
	}
	if err != nil {
		return nil, fmt.Errorf("asking Nix for its version: %w", err)
	}
	if err := nix.CheckVersion(found, "the host"); err != nil {
		return nil, refuse(err.Error(), "upgrade Nix there")
	}
	return nil, nil
}

func leadingNumber(version string) (int, bool) {
	digits := version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

func (s *Setup) nixos() bool { return IsNixOS(s.root) }

// IsNixOS reports whether the machine with that root directory runs NixOS, where
// units and /etc are made by its configuration.
func IsNixOS(root string) bool {
	if _, err := os.Stat(filepath.Join(root, "/etc/NIXOS")); err == nil {
		return true
	}
	b, err := os.ReadFile(filepath.Join(root, "/etc/os-release"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "ID="); ok {
			return strings.Trim(id, `"'`) == "nixos"
		}
	}
	return false
}

// foreignUnits is the file of a microvm@.service that is not setup's.
func (s *Setup) foreignUnits(ctx context.Context) (string, error) {
	path, err := s.sys.fragment(ctx, "microvm@ferry-setup.service")
	if err != nil || path == "" {
		return "", err
	}
	if path != unitDir+"/microvm@.service" {
		return path, nil
	}
	made, err := s.readManifest()
	if err != nil {
		return "", err
	}
	if made != nil && made.Files[path].SHA256 != "" {
		return "", nil
	}
	fi, err := os.Lstat(s.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // systemd remembers what is gone
	}
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() {
		return path, nil
	}
	content, err := os.ReadFile(s.path(path))
	if err != nil {
		return "", err
	}
	for _, u := range units.All() {
		if u.Name == "microvm@.service" && bytes.Equal(content, []byte(u.Content)) {
			return "", nil
		}
	}
	return path, nil
}
