package doctor

import (
	"fmt"
	"slices"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/trouble"
)

// stateDir judges who could put something in the place of a VM.
func (s *sheet) stateDir(f HostFacts) {
	if s.known(f, hostapi.LookState, "state-dir", "owners") {
		switch {
		case f.State.Path == "":
			s.unknown("state-dir", "the host does not say where VMs are")
			s.unknown("owners", "the host does not say where VMs are")
		case f.State.Mode == "":
			s.ok("state-dir", "%s is not there yet", f.State.Path)
			s.ok("owners", "there are no VMs yet")
		case !f.State.Protected:
			cure := "docs/security.md says what that means; on hosts set up by ferry it is root's"
			if f.NixOS {
				cure = "docs/security.md says what that means; ferry.nixosModules.host makes it root's with ferry.host.protectStateDir = true"
			}
			s.add("state-dir", Note, cure,
				"%s is not root's alone (%s), as microvm.nix has it: a program that breaks out of a VM can replace other VMs", f.State.Path, f.State.Mode)
			s.ok("owners", "owners say nothing where the directory itself is not root's")
		default:
			s.ok("state-dir", "only root can replace a VM")
			s.owners(f)
		}
	}
	if s.known(f, hostapi.LookVMs, "vms") {
		s.vms(f)
	}
}

func (s *sheet) owners(f HostFacts) {
	if len(f.State.Strays) == 0 {
		s.ok("owners", "all VMs are root's")
		return
	}
	severity := Warning // deployments of other VMs go well
	if f.VM != "" && slices.ContainsFunc(f.State.Strays, func(stray string) bool { return isOf(stray, f.State.Path+"/"+f.VM) }) {
		severity = Problem
	}
	cure := "ferry host setup " + f.Machine + " takes back what is right; look at the rest first"
	if f.NixOS {
		cure = "look at them first; with ferry.host.protectStateDir of ferry.nixosModules.host, systemctl restart ferry-protect-state-dir takes over VMs that were added since"
	}
	s.add("owners", severity, cure, "ferry refuses VMs in which something is not root's: %s", few(f.State.Strays))
}

// isOf reports whether a stray is a VM's directory, or in it.
func isOf(stray, dir string) bool {
	rest, ok := strings.CutPrefix(stray, dir)
	return ok && (strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, " ("))
}

func (s *sheet) vms(f HostFacts) {
	var wrong []string
	running := 0
	for _, v := range f.VMs {
		if v.Problem != "" {
			wrong = append(wrong, fmt.Sprintf("%s: %s", v.Name, v.Problem))
		}
		if v.State == string(hostapi.StateRunning) {
			running++
		}
	}
	target := vmNamed(&f.Examined, f.VM)
	switch {
	case target != nil && target.Declared:
		s.add("vms", Problem, "deploy the host instead, or take the VM out of its microvm.vms (or give it an updateFlake)",
			"%s is declared by the host's own NixOS configuration", target.Name).See = trouble.DeclaredByHost
	case len(wrong) > 0:
		s.add("vms", Warning, "`ferry list` shows them", "%s", few(wrong))
	default:
		s.ok("vms", "%d VMs, %d of them running", len(f.VMs), running)
	}
}

// vmNamed is what a host says of a VM; nil: it has none of that name.
func vmNamed(host *hostapi.Examined, name string) *hostapi.ExaminedVM {
	if host == nil || name == "" {
		return nil
	}
	for i := range host.VMs {
		if string(host.VMs[i].Name) == name {
			return &host.VMs[i]
		}
	}
	return nil
}

// left judges what deployments have left behind.
func (s *sheet) left(f HostFacts) {
	if !s.known(f, hostapi.LookLeft, "unsettled", "roots", "helpers") {
		return
	}
	s.unsettled(f)
	if len(f.Left.Dangling) > 0 {
		s.add("roots", Note, "nothing: Nix's collector ignores them; `rm` them if they are in the way", "garbage collector roots that lead to nothing: %s", few(f.Left.Dangling))
	} else {
		s.ok("roots", "every root of a VM leads somewhere")
	}
	if len(f.Left.Uploads) > 0 {
		s.add("helpers", Note, "the next upload removes them", "uploads that were cut off: %s", few(f.Left.Uploads))
	} else {
		s.ok("helpers", "%d versions of the helper are kept", f.Left.Helpers)
	}
}

func (s *sheet) unsettled(f HostFacts) {
	var waiting, working []string
	for _, n := range f.Left.Notes {
		what := fmt.Sprintf("%s (deployment %s", n.VM, n.Deployment)
		if n.By != "" {
			what += " by " + n.By
		}
		if n.Why != "" {
			what += ": " + n.Why
		}
		if what += ")"; n.Working {
			working = append(working, what)
		} else {
			waiting = append(waiting, what)
		}
	}
	switch {
	case len(waiting) > 0:
		s.add("unsettled", Warning, "`ferry attach NAME` finishes or undoes it, the next deployment too; `ferry host settle` on the host ends all", "deployments were left unfinished: %s", few(waiting)).See = trouble.LeftUnfinished
	case len(working) > 0:
		s.add("unsettled", Note, "wait for it: `ferry attach NAME`", "deployments are under way: %s", few(working))
	default:
		s.ok("unsettled", "no deployment was left unfinished")
	}
}
