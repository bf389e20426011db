package doctor

import (
	"fmt"
	"slices"
	"strings"

	"ferry/internal/hostapi"
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
			s.add("state-dir", Note, "docs/security.md says what that means; on hosts set up by ferry it is root's",
				"%s is not root's alone (%s), as microvm.nix has it: a program that breaks out of a VM can replace other VMs", f.State.Path, f.State.Mode)
			s.ok("owners", "owners say nothing where the directory itself is not root's")
		default:
			s.ok("state-dir", "only root can replace a VM")
			s.owners(f)
		}
	}
	if s.known(f, hostapi.LookVMs, "vms") {
		s.vms(f.VMs)
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
	s.add("owners", severity, "ferry host setup "+f.Machine+" takes back what is right; look at the rest first", "ferry refuses VMs in which something is not root's: %s", few(f.State.Strays))
}

// isOf reports whether a stray is a VM's directory, or in it.
func isOf(stray, dir string) bool {
	rest, ok := strings.CutPrefix(stray, dir)
	return ok && (strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, " ("))
}

func (s *sheet) vms(vms []hostapi.ExaminedVM) {
	var wrong []string
	running := 0
	for _, v := range vms {
		if v.Problem != "" {
			wrong = append(wrong, fmt.Sprintf("%s: %s", v.Name, v.Problem))
		}
		if v.State == string(hostapi.StateRunning) {
			running++
		}
	}
	if len(wrong) > 0 {
		s.add("vms", Warning, "`ferry list` shows them", "%s", few(wrong))
		return
	}
	s.ok("vms", "%d VMs, %d of them running", len(vms), running)
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
		s.add("unsettled", Warning, "`ferry attach NAME` finishes or undoes it, the next deployment too; `ferry host settle` on the host ends all", "deployments were left unfinished: %s", few(waiting))
	case len(working) > 0:
		s.add("unsettled", Note, "wait for it: `ferry attach NAME`", "deployments are under way: %s", few(working))
	default:
		s.ok("unsettled", "no deployment was left unfinished")
	}
}
