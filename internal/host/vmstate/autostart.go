package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/hostapi"
)

// AutostartTarget is what starts VMs with the host.
const AutostartTarget = "microvms.target"

// Autostart is a VM's place among what starts with its host: a link below
// microvms.target.
type Autostart struct{ vm VM }

func (l Layout) autostartDir() string { return filepath.Join(l.Units, AutostartTarget+".wants") }

// vmTemplate is the file that every VM's unit is made from.
func (l Layout) vmTemplate() string { return filepath.Join(l.Units, "microvm@.service") }

// OwnUnits refuses where links of ours in the unit directory would not last, as
// on NixOS, whose configuration makes all of it.
func (l Layout) OwnUnits() error {
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

func (a Autostart) link() string {
	return filepath.Join(a.vm.layout.autostartDir(), a.vm.name.Unit())
}

// On reports whether a link of Set's, or of `systemctl enable`, starts the VM
// with the host.
func (a Autostart) On() (bool, error) {
	to, err := os.Readlink(a.link())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking whether %s starts with the host: %w", a.vm.name, err)
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(a.vm.layout.autostartDir(), to)
	}
	return filepath.Clean(to) == a.vm.layout.vmTemplate(), nil
}

// Set makes that link, or removes it.
func (a Autostart) Set(on bool) error {
	dir := a.vm.layout.autostartDir()
	if on {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making %s start with the host: %w", a.vm.name, err)
		}
		return replaceLink(dir, a.vm.name.Unit(), a.vm.layout.vmTemplate())
	}
	if err := removeLink(a.link()); err != nil {
		return err
	}
	_ = os.Remove(dir) // fails where other VMs' links are in it
	return nil
}
