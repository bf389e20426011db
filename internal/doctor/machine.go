package doctor

import (
	"strconv"
	"strings"

	"ferry/internal/hostapi"
)

// How much room must be left: below the first a deployment fails, below the second it
// may.
const (
	storeFull, storeLow = 100 * mib, 2 * gib
	stateFull, stateLow = 8 * mib, 200 * mib
	fewInodes           = 200
)

func (s *sheet) disks(f HostFacts) {
	whats := map[string]string{"store": "store", "state": "state", "ferry": "state"}
	if !s.known(f, hostapi.LookDisks, "store-disk", "store-space", "state-disk", "state-space") {
		return
	}
	done := map[string]bool{}
	for _, d := range f.Disks {
		what, ours := whats[d.Use]
		if !ours {
			continue
		}
		if d.Why != "" {
			s.unknown(what+"-disk", d.Why)
			s.unknown(what+"-space", d.Why)
			done[what] = true
			continue
		}
		if d.ReadOnly {
			s.add(what+"-disk", Problem, "mount -o remount,rw, after dmesg has said why it is read-only", "%s is read-only", d.Path)
			done[what+"-disk"] = true
		}
		s.space(what, d, done)
	}
	for _, what := range []string{"store", "state"} {
		if done[what] {
			continue
		}
		if !has(f.Disks, what) {
			s.unknown(what+"-disk", "the host does not say")
			s.unknown(what+"-space", "the host does not say")
			continue
		}
		if !done[what+"-disk"] {
			s.ok(what+"-disk", "it can be written")
		}
		if !done[what+"-space"] {
			s.ok(what+"-space", "%s left", amount(free(f.Disks, what)))
		}
	}
}

func has(disks []hostapi.Disk, use string) bool {
	for _, d := range disks {
		if d.Use == use {
			return true
		}
	}
	return false
}

func free(disks []hostapi.Disk, use string) uint64 {
	for _, d := range disks {
		if d.Use == use {
			return d.Free
		}
	}
	return 0
}

// space judges one file system; of the two with ferry's own files the first that is
// short is enough.
func (s *sheet) space(what string, d hostapi.Disk, done map[string]bool) {
	full, low := uint64(stateFull), uint64(stateLow)
	cure := "free some space there"
	if what == "store" {
		full, low = storeFull, storeLow
		cure = "nix-collect-garbage -d on the host (what VMs run and their generations stay), or a larger disk"
	}
	severity := OK
	switch {
	case d.Free < full, d.Inodes > 0 && d.FreeInodes < fewInodes:
		severity = Problem
	case d.Free < low, d.Inodes > 0 && d.FreeInodes < d.Inodes/100:
		severity = Warning
	}
	if severity == OK || done[what+"-space"] {
		return
	}
	done[what+"-space"] = true
	s.add(what+"-space", severity, cure, "%s has %s and %d inodes left", d.Path, amount(d.Free), d.FreeInodes)
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
			s.add("kvm", Note, "turn on hardware virtualisation (in the firmware, or nested in the hypervisor) and load kvm_intel or kvm_amd", "there is no /dev/kvm: VMs can only be emulated, which is slow")
		case !f.KVM.Group:
			s.add("kvm", Warning, "chgrp kvm /dev/kvm && chmod 660 /dev/kvm; for the next boot a udev rule: KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"", "VMs may not use /dev/kvm (mode %s): they run in the group kvm", f.KVM.Mode)
		default:
			s.ok("kvm", "VMs may use /dev/kvm")
		}
	}
	if s.known(f, hostapi.LookSSHD, "sshd") {
		s.sshd(f.SSHD)
	}
}

const (
	// fewSessions is how many commands ferry and Nix may run at once on a connection.
	fewSessions = 7
	// fewStartups is how many logins a fleet may begin at once.
	fewStartups = 5
)

func (s *sheet) sshd(d hostapi.ExaminedSSHD) {
	start, _, _ := strings.Cut(d.MaxStartups, ":")
	startups, err := strconv.Atoi(start)
	switch {
	case d.MaxSessions == 0 && d.MaxStartups == "":
		s.unknown("sshd", "sshd -T says neither MaxSessions nor MaxStartups")
	case d.MaxSessions < 2:
		s.add("sshd", Problem, "MaxSessions 10 in its sshd_config, and reload sshd", "sshd allows %d sessions on one connection (MaxSessions), and a deployment needs several", max(0, d.MaxSessions))
	case d.MaxSessions < fewSessions:
		s.add("sshd", Warning, "MaxSessions 10 in its sshd_config, and reload sshd", "sshd allows %d sessions on one connection (MaxSessions), and ferry uses up to %d", d.MaxSessions, fewSessions)
	case err == nil && startups < fewStartups:
		s.add("sshd", Note, "MaxStartups 10:30:100 in its sshd_config, and reload sshd", "sshd drops logins at random where more than %d begin at once (MaxStartups %s); ferry tries again", startups, d.MaxStartups)
	default:
		s.ok("sshd", "MaxSessions %d, MaxStartups %s", d.MaxSessions, d.MaxStartups)
	}
}
