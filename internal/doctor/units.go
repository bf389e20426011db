package doctor

import (
	"path"
	"strings"

	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
	"ferry/internal/trouble"
)

// unitFiles judges how VMs are run there.
func (s *sheet) unitFiles(f HostFacts) {
	if s.known(f, hostapi.LookUnit, "units", "unit-stop", "settle", "users", "failed-units") {
		s.units(f)
	}
	if s.known(f, hostapi.LookSetup, "setup") {
		s.setup(f)
	}
}

// byFerry: the units are those of `ferry host setup`.
func byFerry(f HostFacts) bool {
	return f.Setup.Outcome == string(setup.OutcomeUnchanged) || f.Setup.Outcome == string(setup.OutcomePlanned)
}

func (s *sheet) units(f HostFacts) {
	u := f.Unit
	if u.File == "" {
		cure := "ferry host setup " + f.Machine
		if f.NixOS {
			cure = "import microvm.nixosModules.host in its configuration, and rebuild it"
		}
		s.add("units", Problem, cure, "there is no microvm@.service: it is not a host for MicroVMs yet").See = trouble.NotAHost
		for _, what := range []string{"unit-stop", "settle"} {
			s.unknown(what, "it is not a host yet")
		}
	} else {
		whose := "not ferry's own"
		if byFerry(f) {
			whose = "ferry's"
		}
		if len(u.DropIns) > 0 {
			s.add("units", Note, "systemctl cat microvm@.service shows all of it", "VMs run by %s (%s), changed by %s", u.File, whose, few(u.DropIns))
		} else {
			s.ok("units", "VMs run by %s (%s)", u.File, whose)
		}
		s.stopping(f)
	}
	if u.User && u.Group {
		s.ok("users", "the user microvm and the group kvm are there")
	} else {
		cure := "ferry host setup " + f.Machine
		if f.NixOS {
			cure = "import microvm.nixosModules.host in its configuration, which makes them, and rebuild it"
		}
		s.add("users", Problem, cure, "VMs run as the user microvm in the group kvm, and one of the two is missing").See = trouble.NotAHost
	}
	if len(u.Failed) > 0 {
		s.add("failed-units", Warning, "journalctl -u "+quoteUnit(u.Failed[0])+"; `ferry list` shows what is unfinished, systemctl reset-failed forgets it", "units of ferry's have failed: %s", few(u.Failed))
	} else {
		s.ok("failed-units", "no unit of ferry's has failed")
	}
}

// quoteUnit is the name of a unit for a command that people copy: the host has a say
// in it.
func quoteUnit(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@") != "" {
		return "UNIT"
	}
	return name
}

func (s *sheet) stopping(f HostFacts) {
	if f.Unit.Waits {
		s.ok("unit-stop", "a stop waits for the guest's own shutdown")
	} else {
		s.add("unit-stop", Warning, "stop VMs with `ferry stop`, which has the guest shut down first; see docs/host.md",
			"a stop by systemd, as at the host's shutdown, ends a QEMU guest half a second after it was asked to shut down")
	}
	if f.Unit.Settle {
		s.ok("settle", "ferry-settle.service ends at boot what was interrupted")
	} else {
		cure := "run `ferry host settle` there after a crash"
		switch {
		case f.NixOS:
			cure = "import ferry.nixosModules.host in its configuration, with ferry.host.enable = true, and rebuild it; until then " + cure
		case byFerry(f):
			cure = "ferry host setup " + f.Machine + "; until then " + cure
		}
		s.add("settle", Warning, cure,
			"ferry-settle.service is not enabled: a deployment that the host's crash interrupts waits for the next run").See = trouble.LeftUnfinished
	}
}

// setup judges what `ferry host setup` would do there.
func (s *sheet) setup(f HostFacts) {
	cure := "ferry host setup " + f.Machine + " --dry-run shows every file, and without --dry-run brings them; no VM is restarted"
	switch {
	case f.Setup.Refused != "":
		s.add("setup", Warning, cure, "`ferry host setup` would refuse: %s", f.Setup.Refused)
	case !byFerry(f):
		s.ok("setup", "this host's units are its own, and `ferry host setup` leaves them alone")
	default:
		s.compared(f, cure)
	}
}

// compared tells what is missing from what is only of another version.
func (s *sheet) compared(f HostFacts, cure string) {
	var missing, other, edited []string
	for _, c := range f.Setup.Changes {
		name := path.Base(c.Name)
		switch c.Verb {
		case setup.Create:
			missing = append(missing, name)
		case setup.Keep:
			edited = append(edited, c.Name+" ("+c.Note+")")
		default:
			other = append(other, name)
		}
	}
	var parts []string
	severity := Note
	if len(missing) > 0 {
		severity = Warning
		parts = append(parts, "parts of `ferry host setup` are missing: "+few(missing))
	}
	if len(other) > 0 {
		parts = append(parts, "another version of ferry has set it up, and made these otherwise: "+few(other))
	}
	if len(edited) > 0 {
		parts = append(parts, "not as ferry has them, and left as they are: "+few(edited))
		cure += ". What was changed stays: to adapt a unit use `systemctl edit`, or move the changed file away for ferry's"
	}
	if len(parts) == 0 {
		s.ok("setup", "all that `ferry host setup` makes is there")
		return
	}
	s.add("setup", severity, cure, "%s", strings.Join(parts, "; "))
}
