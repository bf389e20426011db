package doctor

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/trouble"
)

// How much room must be left: below the first a deployment fails, below the second it
// may.
const (
	storeFull, storeLow = 100 * mib, 2 * gib
	stateFull, stateLow = 8 * mib, 200 * mib
	fewInodes           = 200
)

func (s *sheet) disks(f HostFacts) {
	if s.known(f, hostapi.LookDisks, "store-disk", "store-space", "state-disk", "state-space") {
		s.place("store", disksFor(f.Disks, "store"))
		s.place("state", disksFor(f.Disks, "state", "ferry"))
	}
}

// disksFor are the first that are named for each use.
func disksFor(all []hostapi.Disk, uses ...string) []hostapi.Disk {
	var disks []hostapi.Disk
	for _, use := range uses {
		if i := slices.IndexFunc(all, func(d hostapi.Disk) bool { return d.Use == use }); i >= 0 {
			disks = append(disks, all[i])
		}
	}
	return disks
}

// place judges the file systems of something that is written to.
func (s *sheet) place(what string, disks []hostapi.Disk) {
	why := "the host does not say"
	i := slices.IndexFunc(disks, func(d hostapi.Disk) bool { return d.Why != "" })
	if i >= 0 {
		why = disks[i].Why
	}
	if len(disks) == 0 || i >= 0 {
		s.unknown(what+"-disk", why)
		s.unknown(what+"-space", why)
		return
	}
	if i := slices.IndexFunc(disks, func(d hostapi.Disk) bool { return d.ReadOnly }); i >= 0 {
		s.add(what+"-disk", Problem, "mount it read-write again (mount -o remount,rw), once dmesg has said why it is read-only", "%s is read-only", disks[i].Path)
	} else {
		s.ok(what+"-disk", "it can be written")
	}
	s.space(what, slices.MaxFunc(disks, func(a, b hostapi.Disk) int {
		return cmp.Or(cmp.Compare(urgency(what, a), urgency(what, b)), cmp.Compare(b.Free, a.Free))
	}))
}

// urgency is 2 where a deployment fails for lack of room, 1 where it may.
func urgency(what string, d hostapi.Disk) int {
	full, low := uint64(stateFull), uint64(stateLow)
	if what == "store" {
		full, low = storeFull, storeLow
	}
	switch {
	case d.Free < full, d.Inodes > 0 && d.FreeInodes < fewInodes:
		return 2
	case d.Free < low, d.Inodes > 0 && d.FreeInodes < d.Inodes/100:
		return 1
	}
	return 0
}

func (s *sheet) space(what string, d hostapi.Disk) {
	cure := "free some space there"
	if what == "store" {
		cure = "nix-collect-garbage -d on the host (what VMs run and their generations stay), or a larger disk"
	}
	severity := []Severity{OK, Warning, Problem}[urgency(what, d)]
	switch {
	case severity == OK:
		s.ok(what+"-space", "%s left", amount(d.Free))
	case d.Inodes > 0:
		s.add(what+"-space", severity, cure, "%s has %s and %d inodes left", d.Path, amount(d.Free), d.FreeInodes).See = trouble.DiskFull
	default:
		s.add(what+"-space", severity, cure, "%s has %s left", d.Path, amount(d.Free)).See = trouble.DiskFull
	}
}

// machineParts are systemd, KVM and sshd.
func (s *sheet) machineParts(f HostFacts) {
	if why, silent := f.Unknown[hostapi.LookSystemd]; silent {
		s.add("systemd", Problem, "a host runs MicroVMs by systemd; systemctl is-system-running there says how it is", "%s", why)
	} else if f.Systemd == "" {
		s.unknown("systemd", "the host does not say its version")
	} else {
		s.ok("systemd", "systemd %s", f.Systemd)
	}
	if s.known(f, hostapi.LookKVM, "kvm") {
		switch {
		case !f.KVM.Present:
			s.add("kvm", Note, "turn on hardware virtualisation (in the firmware, or nested in the hypervisor) and load kvm_intel or kvm_amd", "there is no /dev/kvm: VMs can only be emulated, which is slow").See = trouble.NoKVM
		case !f.KVM.Group:
			s.add("kvm", Warning, "chgrp kvm /dev/kvm && chmod 660 /dev/kvm; for the next boot a udev rule: KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"", "VMs may not use /dev/kvm (mode %s): they run in the group kvm", f.KVM.Mode).See = trouble.NoKVM
		default:
			s.ok("kvm", "VMs may use /dev/kvm")
		}
	}
	if s.known(f, hostapi.LookSSHD, "sshd") {
		s.sshd(f)
	}
}

const (
	// fewSessions is how many commands ferry and Nix may run at once on a connection.
	fewSessions = 7
	// fewStartups is how many logins a fleet may begin at once.
	fewStartups = 5
)

func (s *sheet) sshd(f HostFacts) {
	const cure = "MaxSessions 10 in its sshd_config, and reload sshd"
	d := f.SSHD
	start, _, _ := strings.Cut(d.MaxStartups, ":")
	startups, err := strconv.Atoi(start)
	switch {
	case f.Local:
		s.ok("sshd", "deployments from here don't use it")
	case d.MaxSessions == 0 && d.MaxStartups == "":
		s.unknown("sshd", "sshd -T says neither MaxSessions nor MaxStartups")
	case d.MaxSessions < 2 && f.Sessions: // a Match block, or sshd has not read it yet
		s.add("sshd", Warning, cure, "MaxSessions is %d in its configuration, though several commands run on one connection now", max(0, d.MaxSessions)).See = trouble.SessionRefused
	case d.MaxSessions < 2:
		s.add("sshd", Problem, cure, "MaxSessions is %d, and a deployment runs several commands on one connection", max(0, d.MaxSessions)).See = trouble.SessionRefused
	case d.MaxSessions < fewSessions:
		s.add("sshd", Warning, cure, "MaxSessions is %d, and ferry may run up to %d commands on one connection", d.MaxSessions, fewSessions).See = trouble.SessionRefused
	case err == nil && startups < fewStartups:
		s.add("sshd", Note, "MaxStartups 10:30:100 in its sshd_config, and reload sshd", "sshd drops logins at random where more than %d begin at once (MaxStartups %s); ferry tries again", startups, d.MaxStartups).See = trouble.Unreachable
	default:
		s.ok("sshd", "MaxSessions %d, MaxStartups %s", d.MaxSessions, d.MaxStartups)
	}
}
