package doctor

import (
	"slices"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/nix"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

// HostFacts are what the helper has found on a host.
type HostFacts struct {
	Machine string
	hostapi.Examined
	// Asked and Answered are by the clock of this machine.
	Asked, Answered time.Time
	Login           remote.Login
	// Local: this machine, without sshd in between. Sessions: several commands run on
	// one connection.
	Local, Sessions bool
	// NoDoor is why the host was not asked whether it reaches the target; empty where
	// it was, and where there is no target.
	NoDoor string
	Target bool   // there is one
	VM     string // whose it is; empty: not known
}

// JudgeSessions judges whether a second command runs beside the first.
func JudgeSessions(machine string, err error) []Finding {
	s := &sheet{where: Host, machine: machine}
	if err != nil {
		s.add("sessions", Problem, "raise MaxSessions in its sshd_config (the default is 10), reload sshd", "a second command on the same connection does not run: %v", err).See = trouble.SessionRefused
	} else {
		s.ok("sessions", "several commands run on one connection")
	}
	return s.found
}

// JudgeHelper judges whether the helper was started and has answered.
func JudgeHelper(machine string, err error) []Finding {
	s := &sheet{where: Host, machine: machine}
	if err != nil {
		s.failed("helper", Problem, err, "ferry's helper does not work there: %v", err)
	} else {
		s.ok("helper", "ferry's helper runs there")
	}
	return s.found
}

// JudgeHost judges what the helper has found.
func JudgeHost(f HostFacts) []Finding {
	s := &sheet{where: Host, machine: f.Machine}
	s.clock("clock", f.Now, f.Asked, f.Answered)
	s.hostsNix(f)
	s.disks(f)
	s.machineParts(f)
	s.unitFiles(f)
	s.stateDir(f)
	s.left(f)
	s.target(f)
	return s.found
}

// off is how much clocks may differ: a little is usual; more confuses who reads logs,
// and later the checks of certificates.
const (
	offLittle = 5 * time.Second
	offMuch   = time.Minute
)

func (s *sheet) clock(what string, now, asked, answered time.Time) {
	if now.IsZero() {
		s.unknown(what, "it does not say what time it is")
		return
	}
	off := time.Duration(0)
	switch {
	case now.Before(asked):
		off = asked.Sub(now)
	case now.After(answered):
		off = now.Sub(answered)
	}
	cure := "set the clocks by NTP (timedatectl set-ntp true)"
	switch {
	case off > offMuch:
		s.add(what, Warning, cure, "its clock and this machine's differ by %s: certificates may count as expired, and logs mislead", off.Round(time.Second))
	case off > offLittle:
		s.add(what, Note, cure, "its clock and this machine's differ by %s", off.Round(time.Second))
	default:
		s.ok(what, "its clock is right")
	}
}

// known reports whether a look has come to something; where not, the checks that rest
// on it are unknown.
func (s *sheet) known(f HostFacts, look string, whats ...string) bool {
	why, not := f.Unknown[look]
	if !not {
		return true
	}
	for _, what := range whats {
		s.unknown(what, why)
	}
	return false
}

func (s *sheet) hostsNix(f HostFacts) {
	if !s.known(f, hostapi.LookNix, "nix", "nix-daemon", "path", "trusted-user") {
		return
	}
	if f.Nix.Missing {
		s.add("nix", Problem, "install Nix there (https://nixos.org/download, or the distribution's package)", "Nix was not found, neither on the PATH nor where it is usually installed").See = trouble.NixNotFound
		for _, what := range []string{"nix-daemon", "path", "trusted-user"} {
			s.unknown(what, "there is no Nix")
		}
		return
	}
	version, err := nix.ParseVersion(f.Nix.Version)
	if err == nil {
		err = nix.CheckVersion(version, "the host")
		if err != nil {
			s.failed("nix", Problem, err, "%v", err)
		} else {
			s.ok("nix", "Nix %s", version)
		}
	} else {
		s.add("nix", Warning, "look at what `nix --version` prints there", "%v", err)
	}
	switch {
	case f.Nix.Socket && !f.Nix.Daemon:
		s.add("nix-daemon", Warning, "systemctl restart nix-daemon.socket nix-daemon; journalctl -u nix-daemon", "Nix's daemon does not answer at its socket")
	case f.Nix.Socket:
		s.ok("nix-daemon", "Nix's daemon answers")
	default:
		s.ok("nix-daemon", "there is no daemon: root uses the store itself")
	}
	if f.Nix.OnPath {
		s.ok("path", "nix-daemon is on the PATH of commands over SSH")
	} else {
		s.add("path", Note, "put Nix's directory on the PATH of shells that are not interactive, for example in /etc/environment",
			"nix-daemon is not on the PATH of commands over SSH: copies go through ferry's helper, and `nix copy` by hand fails")
	}
	s.trusted(f)
}

func (s *sheet) trusted(f HostFacts) {
	switch {
	case f.Login.Sudo == "root":
		s.ok("trusted-user", "root may do everything")
	case f.Login.User == "" || len(f.Nix.TrustedUsers) == 0:
		s.unknown("trusted-user", "Nix does not say whom it trusts")
	case trusts(f.Nix.TrustedUsers, f.Login):
		s.ok("trusted-user", "Nix trusts %s", f.Login.User)
	default:
		s.add("trusted-user", Note, "add "+f.Login.User+" to trusted-users in /etc/nix/nix.conf; whoever is trusted can become root",
			"Nix does not trust %s: what is built elsewhere is copied with sudo, or must be signed", f.Login.User).See = trouble.UntrustedUser
	}
}

func trusts(users []string, l remote.Login) bool {
	return slices.ContainsFunc(users, func(u string) bool {
		group, isGroup := strings.CutPrefix(u, "@")
		return u == "*" || u == l.User || isGroup && slices.Contains(l.Groups, group)
	})
}

func (s *sheet) target(f HostFacts) {
	switch {
	case !f.Target:
		return
	case f.NoDoor != "":
		s.add("target", Note, "", "the host was not asked whether it reaches the guest: %s. A guest that is lost is then not restarted as a last resort", f.NoDoor)
	case !s.known(f, hostapi.LookDoor, "target"):
	case f.Door.Reached:
		s.ok("target", "the host reaches the guest at %s", f.Door.Asked)
	default:
		s.add("target", Warning, "let the host connect to the guest's sshd, if you want that",
			"the host does not reach the guest at %s (%s): one that is lost in a live switch is not restarted as a last resort", f.Door.Asked, f.Door.Why)
	}
}
