package doctor

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
	"ferry/internal/trouble"
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
	s.failed("answer", Problem, err, "%v", err)
	return s.found
}

// Excuse makes a note of it that a guest can't be reached whose VM does not run: a
// deployment does without it then. err is what kept the login from working.
func Excuse(found []Finding, err error, host *hostapi.Examined, vm string) []Finding {
	var failed *remote.ConnectError
	if host == nil || vm == "" || !errors.As(err, &failed) || failed.Kind != remote.Unreachable || failed.NameUnknown() {
		return found
	}
	if _, unknown := host.Unknown[hostapi.LookVMs]; unknown {
		return found
	}
	known := vmNamed(host, vm)
	if known != nil && !slices.Contains([]hostapi.State{hostapi.StateStopped, hostapi.StateFailed, hostapi.StateNoVM}, hostapi.State(known.State)) {
		return found
	}
	for i, f := range found {
		if f.What == "connection" && f.Severity == Problem {
			found[i].Severity, found[i].See, found[i].Cure = Note, "", "nothing: while the VM does not run, a deployment needs no login there"
			found[i].Text = short(vm + " does not run on the host, and does not answer: " + f.Text)
		}
	}
	return found
}

// JudgeGuest judges a guest that has answered.
func JudgeGuest(f GuestFacts) []Finding {
	s := &sheet{where: Guest, machine: f.Machine}
	s.ok("answer", "it answers, up for %s", f.Up)
	s.name(f)
	if f.Systemd {
		s.ok("systemd", "it has systemd")
	} else {
		s.add("systemd", Problem, "check that TARGET is the system inside the VM", "it has no systemd-run, without which there is no live switch")
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
		s.add("failed-units", Warning, "systemctl --failed in the guest; a switch counts only units that failed since", "units have failed there: %s", few(f.FailedUnits)).See = trouble.UnitsFailed
	} else {
		s.ok("failed-units", "no unit has failed")
	}
	s.clock("clock", f.Now, f.Asked, f.Answered.Add(time.Second)) // it counts whole seconds
	return s.found
}

func (s *sheet) name(f GuestFacts) {
	known := vmNamed(f.Host, cmp.Or(f.VM, f.HostName))
	switch {
	case f.VM != "" && known != nil && known.HostName != "" && known.HostName != f.HostName:
		s.add("name", Problem, "check the address", "it calls itself %q, but %s is configured as %q", f.HostName, f.VM, known.HostName).See = trouble.WrongTarget
	case f.VM == f.HostName || known != nil && known.HostName == f.HostName:
		s.ok("name", "it calls itself %s", f.HostName)
	case f.VM != "":
		s.add("name", Warning, "check the address; where the VM's host name differs from its name on purpose, nothing", "it calls itself %q, and should be %q", f.HostName, f.VM).See = trouble.WrongTarget
	case f.Host == nil:
		s.unknown("name", "the host was not asked for its VMs")
	case known != nil:
		s.ok("name", "it calls itself %s", f.HostName)
	default:
		s.add("name", Warning, "check the address", "it calls itself %q, and the host has no VM of that name", f.HostName).See = trouble.WrongTarget
	}
}

// store judges whether the guest shares the host's store, and whether what is new there
// reaches it.
func (s *sheet) store(f GuestFacts) {
	if f.Probe.Path == "" {
		s.unknown("store", "no path of the host's store is known")
		s.unknown("new-paths", "no path of the host's store is known")
		return
	}
	if !f.HasStore {
		s.noStore(f)
		s.unknown("new-paths", "it does not share the host's store")
		return
	}
	s.ok("store", "it shares the host's store")
	s.newPaths(f)
}

// noStore is about a guest that does not see the host's store. A deployment fails
// where the VM is configured to share it: what answers is another machine, or
// something is wrong with the share.
func (s *sheet) noStore(f GuestFacts) {
	kind := ""
	if known := vmNamed(f.Host, cmp.Or(f.VM, f.HostName)); known != nil {
		kind = known.Store
	}
	switch kind {
	case hostapi.StoreShared:
		s.add("store", Problem, "check that the target is the VM on this host, and that the share is mounted there; --restart=always restarts instead of switching live",
			"it does not see %s of the host's store, though the host says that the VM shares it", f.Probe.Path).See = trouble.StoreNotShared
	case hostapi.StoreOwn:
		s.add("store", Note, "to have live switches, share the host's store with the VM (microvm.shares with source = \"/nix/store\")",
			"it has a store of its own: each change takes a restart, which ferry does")
	default:
		s.add("store", Warning, "share the host's store with the VM (microvm.shares with source = \"/nix/store\"), or live with restarts",
			"it does not see %s of the host's store: a live switch is impossible, and only a VM that is known to have a store of its own is restarted instead", f.Probe.Path).See = trouble.StoreNotShared
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
