package doctor

import (
	"fmt"
	"strings"

	"ferry/docs"
	"ferry/internal/nix"
	"ferry/internal/trouble"
)

// OperatorFacts are what was found out about this machine.
type OperatorFacts struct {
	Nix    nix.Version
	NixErr error
	// Store is the URL of Nix's store here. Local: this process must be able to
	// write it, and Writable says whether it is.
	Store    string
	StoreErr error
	Writable bool
	SSH      string // what `ssh -V` says
	SSHErr   error
	// HelperErr is why ferry has no helper for usual hosts.
	HelperErr error
	CacheDir  string
	CacheErr  error
	Space     []Space
	// Flake is set where there is a flake to ask.
	Flake    bool
	FlakeErr error
	Hosts    []string // of its `ferry` output
}

// Space is what is left where something is written.
type Space struct {
	Path string
	Free uint64 // bytes
}

const (
	mib = 1 << 20
	gib = 1 << 30
	// littleHere is what an evaluation and a copy may well need on this machine.
	littleHere = 200 * mib
)

// JudgeOperator judges this machine.
func JudgeOperator(f OperatorFacts) []Finding {
	s := &sheet{where: Operator}
	s.operatorsNix(f)
	switch {
	case f.SSHErr != nil:
		s.add("ssh", Problem, "install OpenSSH's client and put it on your PATH", "ssh does not run: %v", f.SSHErr)
	case !strings.HasPrefix(f.SSH, "OpenSSH_"):
		s.add("ssh", Warning, "use OpenSSH's ssh", "ssh is %q, and ferry knows OpenSSH's only", f.SSH)
	default:
		s.ok("ssh", "%s", f.SSH)
	}
	if f.HelperErr != nil {
		s.failed("helper", Warning, f.HelperErr, "%v", f.HelperErr)
	} else {
		s.ok("helper", "the helper for Linux hosts is in this ferry")
	}
	switch {
	case f.CacheDir == "":
		s.add("cache", Warning, "set HOME or XDG_CACHE_HOME", "there is no directory for the cache: each run evaluates the flake again")
	case f.CacheErr != nil:
		s.add("cache", Warning, "make it writable, or set XDG_CACHE_HOME", "the cache can't be written, so each run evaluates the flake again: %v", f.CacheErr)
	default:
		s.ok("cache", "evaluations are cached in %s", f.CacheDir)
	}
	s.operatorsSpace(f.Space)
	s.flake(f)
	return s.found
}

func (s *sheet) operatorsNix(f OperatorFacts) {
	if f.NixErr == nil {
		f.NixErr = nix.CheckVersion(f.Nix, "this machine")
	}
	if f.NixErr != nil {
		s.failed("nix", Problem, f.NixErr, "%v", f.NixErr)
		s.unknown("nix-store", "Nix does not work")
		return
	}
	s.ok("nix", "Nix %s; ferry enables the features it needs itself", f.Nix)
	switch {
	case f.StoreErr != nil:
		s.add("nix-store", Problem, "`nix store info` shows the same error; where there is a daemon: systemctl status nix-daemon", "Nix's store does not open: %v", f.StoreErr)
	case (f.Store == "local" || strings.HasPrefix(f.Store, "local:")) && !f.Writable:
		s.add("nix-store", Problem, "start Nix's daemon, or use Nix as the user to whom /nix belongs", "Nix uses the store without a daemon, and you may not write it")
	default:
		s.ok("nix-store", "the store opens (%s)", f.Store)
	}
}

func (s *sheet) operatorsSpace(spaces []Space) {
	for _, sp := range spaces {
		if sp.Free < littleHere {
			s.add("space", Warning, "free some space; `nix store gc` removes what nothing needs", "%s left in %s", amount(sp.Free), sp.Path).See = trouble.DiskFull
			return
		}
	}
	if len(spaces) == 0 {
		s.unknown("space", "no file system says how much is left")
		return
	}
	s.ok("space", "at least %s left", amount(least(spaces)))
}

func least(spaces []Space) uint64 {
	n := spaces[0].Free
	for _, sp := range spaces {
		n = min(n, sp.Free)
	}
	return n
}

func (s *sheet) flake(f OperatorFacts) {
	switch {
	case !f.Flake:
		s.add("flake", Note, "go to your flake's directory, or name it with --flake", "there is no flake here: hosts and VMs must be given by address")
	case f.FlakeErr != nil:
		s.failed("flake", Problem, f.FlakeErr, "the flake's `ferry` output can't be read: %v", f.FlakeErr)
	case len(f.Hosts) == 0:
		s.add("flake", Note, "docs/host-setup.md and the README say how hosts get names", "the flake names no hosts")
	default:
		s.ok("flake", "the flake names hosts: %s", few(f.Hosts))
	}
}

// failed is what came of an error, which brings its cure and its section along.
func (s *sheet) failed(what string, severity Severity, err error, format string, args ...any) {
	f := s.add(what, severity, trouble.Hint(err), format, args...)
	// A host may have named it, and name anything.
	if see := trouble.Of(err); see != "" {
		if _, known := docs.Troubleshooting(string(see)); known {
			f.See = see
		}
	}
}

// amount is a number of bytes for people.
func amount(n uint64) string {
	if n >= 10*gib {
		return fmt.Sprintf("%d GiB", n/gib)
	}
	return fmt.Sprintf("%d MiB", n/mib)
}
