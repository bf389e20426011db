package doctor

import (
	"slices"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
)

// GuestFacts are what a guest has said, and what its host has to say of it.
type GuestFacts struct {
	Machine string
	guest.Examined
	Asked, Answered time.Time // by the clock of this machine
	// VM is which it should be; empty: nobody has said.
	VM string
	// Host is what was found there; nil: nothing.
	Host *hostapi.Examined
	// Probe is the path of the host's store that the guest was asked for.
	Probe hostapi.ExaminedPath
}

// JudgeAnswer says why a guest was not looked at.
func JudgeAnswer(machine string, err error) []Finding {
	s := &sheet{where: Guest, machine: machine}
	s.add("answer", Problem, hintOf(err), "%v", err)
	return s.found
}

// JudgeGuest judges a guest that has answered.
func JudgeGuest(f GuestFacts) []Finding {
	s := &sheet{where: Guest, machine: f.Machine}
	s.ok("answer", "it answers, up for %s", f.Up)
	s.name(f)
	if f.Systemd {
		s.ok("systemd", "it has systemd")
	} else {
		s.add("systemd", Problem, "is that the system inside the VM? See TARGET", "it has no systemd-run, without which there is no live switch")
	}
	if f.NixStore {
		s.ok("nix-store", "it has nix-store")
	} else {
		s.add("nix-store", Warning, "nix.enable = true in the VM", "it has no nix-store on the PATH: a live switch can't register the new system in its database")
	}
	s.store(f)
	if f.Switch {
		s.ok("switch", "its system can be switched")
	} else {
		s.add("switch", Warning, "system.switch.enable = true in the VM (NixOS's default), or live with restarts", "what runs there has no switch-to-configuration: the VM is restarted instead of switched live")
	}
	if f.Armed != "" {
		s.add("undecided", Warning, "`ferry attach "+f.Armed+"` confirms or undoes it; without that the guest goes back by itself", "the switch of deployment %s is neither confirmed nor undone", f.Armed)
	} else {
		s.ok("undecided", "no switch is undecided, as far as the login may see")
	}
	if len(f.FailedUnits) > 0 {
		s.add("failed-units", Warning, "systemctl --failed in the guest; a switch counts only units that failed since", "units have failed there: %s", few(f.FailedUnits))
	} else {
		s.ok("failed-units", "no unit has failed")
	}
	s.clock("clock", f.Now, f.Asked, f.Answered.Add(time.Second)) // it counts whole seconds
	return s.found
}

func (s *sheet) name(f GuestFacts) {
	var names []string
	if f.Host != nil {
		for _, v := range f.Host.VMs {
			names = append(names, string(v.Name))
		}
	}
	switch {
	case f.VM != "" && f.HostName != f.VM:
		s.add("name", Warning, "check the address; where the VM's host name differs from its name on purpose, nothing", "it calls itself %q, and should be %q", f.HostName, f.VM)
	case f.VM != "" || slices.Contains(names, f.HostName):
		s.ok("name", "it calls itself %s", f.HostName)
	case f.Host == nil:
		s.unknown("name", "the host was not asked for its VMs")
	default:
		s.add("name", Warning, "check the address", "it calls itself %q, and the host has no VM of that name", f.HostName)
	}
}

// store judges whether the guest shares the host's store, and whether what is new there
// reaches it.
func (s *sheet) store(f GuestFacts) {
	switch {
	case f.Probe.Path == "":
		s.unknown("store", "no path of the host's store is known")
		s.unknown("new-paths", "no path of the host's store is known")
	case !f.HasStore:
		s.add("store", Warning, "share the host's store with the VM (microvm.shares with source = \"/nix/store\"), or live with restarts",
			"it does not see %s of the host's store: a live switch is impossible, and only a VM that is known to have a store of its own is restarted instead", f.Probe.Path)
		s.unknown("new-paths", "it does not share the host's store")
	default:
		s.ok("store", "it shares the host's store")
		s.newPaths(f)
	}
}

func (s *sheet) newPaths(f GuestFacts) {
	if f.Host == nil || f.Host.Now.IsZero() || f.Up == 0 {
		s.unknown("new-paths", "when it booted is not known")
		return
	}
	booted := f.Host.Now.Add(-f.Up) // by the host's clock, as the path's time
	if f.Probe.At.After(booted) {
		s.ok("new-paths", "it sees what came into the host's store after its boot")
		return
	}
	s.add("new-paths", Note, "nothing: a deployment makes sure before it switches", "nothing has come into the host's store since its boot by which to tell whether it sees what is new")
}
