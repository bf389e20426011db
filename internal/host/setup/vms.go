package setup

import (
	"fmt"

	"ferry/internal/host/vmstate"
)

// layout is where the VMs are.
func (s *Setup) layout() vmstate.Layout {
	l := vmstate.DefaultLayout()
	l.StateDir, l.Profiles = s.path(stateDir), s.path(l.Profiles)
	if s.group != "" {
		l.Group = s.group
	}
	return l
}

// compareVMs finds what of the VMs' directories others than root own, as after
// microvm.nix's own tools have worked on this host: ferry refuses such VMs, since
// an escaped guest could replace what root then starts. A link that points to no
// generation stays for somebody to look at.
func (s *Setup) compareVMs() ([]Change, error) {
	names, err := s.layout().Names()
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, n := range names {
		vm := s.layout().VM(n)
		strays, err := vm.Strays()
		if err != nil {
			return nil, fmt.Errorf("looking at the VM %s: %w", n, err)
		}
		for _, stray := range strays {
			changes = append(changes, s.takingBack(vm, stray))
		}
	}
	return changes, nil
}

func (s *Setup) takingBack(vm vmstate.VM, stray vmstate.Stray) Change {
	path := stateDir + "/" + string(vm.Name())
	c := Change{Verb: Update, Kind: "directory", Name: path, Note: stray.Why + " → root, group " + groupName + ", 1775"}
	c.takeBack = func() error { return vm.TakeBack(stray) }
	if stray.Entry == "" {
		return c
	}
	c.Kind, c.Name, c.Note = "link", path+"/"+stray.Entry, stray.Why+" → root"
	if stray.Entry == "flake" {
		c.Kind = "file"
	}
	if stray.Known == "" {
		c.Verb = Keep
		c.Note = "it " + stray.Why + "; a program in the VM's user may have put it there: look at it, then remove it, or `chown -h root " + c.Name + "`"
	}
	return c
}
