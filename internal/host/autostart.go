package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// autostartTarget is what starts VMs with the host.
const autostartTarget = "microvms.target"

func (l Layout) autostartDir() string { return filepath.Join(l.Units, autostartTarget+".wants") }

// vmTemplate is the file that every VM's unit is made from.
func (l Layout) vmTemplate() string { return filepath.Join(l.Units, "microvm@.service") }

// autostarts reports whether a link of Autostart's, or of `systemctl enable`,
// starts the VM with the host.
func (l Layout) autostarts(n microvm.Name) (bool, error) {
	to, err := os.Readlink(filepath.Join(l.autostartDir(), n.Unit()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking whether %s starts with the host: %w", n, err)
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(l.autostartDir(), to)
	}
	return filepath.Clean(to) == l.vmTemplate(), nil
}

// Autostart makes a VM start with its host, or not: by a link below
// microvms.target, so no rebuild of the host is needed. What runs now is not
// touched. A host whose units its own configuration makes is refused.
func (s *Server) Autostart(ctx context.Context, n microvm.Name, on bool) (*hostapi.Autostarted, error) {
	vm, err := s.locate(ctx, n)
	if err != nil {
		return nil, err
	}
	if on && !vm.Exists {
		return nil, s.noVM(n)
	}
	l := s.layout
	if err := s.ownUnits(ctx); err != nil {
		return nil, err
	}
	now, err := l.autostarts(n)
	if err != nil {
		return nil, err
	}
	answer := &hostapi.Autostarted{VM: n, On: on, Changed: now != on}
	switch {
	case now == on:
		return answer, nil
	case on:
		if err := os.MkdirAll(l.autostartDir(), 0o755); err != nil {
			return nil, fmt.Errorf("making %s start with the host: %w", n, err)
		}
		if err := replaceLink(l.autostartDir(), n.Unit(), l.vmTemplate()); err != nil {
			return nil, err
		}
	default:
		if err := removeLink(filepath.Join(l.autostartDir(), n.Unit())); err != nil {
			return nil, err
		}
		_ = os.Remove(l.autostartDir()) // fails where other VMs' links are in it
	}
	return answer, s.units.Reload(ctx)
}

// ownUnits refuses where links of ours in the unit directory would not last, as
// on NixOS, whose configuration makes all of it.
func (s *Server) ownUnits(ctx context.Context) error {
	l := s.layout
	target, err := s.units.Unit(ctx, autostartTarget)
	if err != nil {
		return err
	}
	if target.LoadState != "loaded" {
		return hostapi.Refuse("this host has no "+autostartTarget, "set it up with `ferry host setup`")
	}
	dir, err := os.Lstat(l.Units)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", l.Units, err)
	}
	template, err := os.Lstat(l.vmTemplate())
	if err != nil || !dir.IsDir() || !template.Mode().IsRegular() {
		return hostapi.Refuse("the units of this host are not ferry's",
			"on NixOS put the VM into microvm.autostart of the host's configuration; elsewhere use `systemctl enable`")
	}
	return nil
}
