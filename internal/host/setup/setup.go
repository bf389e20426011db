package setup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"ferry/internal/hostapi"
)

// Setup works on one machine, as root.
type Setup struct {
	root     string // before every path; empty but in tests
	programs Programs
	sys      system
	group    string // of the VMs' directories; empty: kvm, but in tests
}

// Programs are the contents of what is installed.
type Programs struct {
	Helper func() ([]byte, error)
	// Ferry itself is for timers and for `ferry … local`; nil: it is not at hand.
	Ferry func() ([]byte, error)
}

// Running is the content of the running program, which may have no name any more.
func Running() ([]byte, error) { return os.ReadFile("/proc/self/exe") }

// New works on this machine.
func New(ctx context.Context, p Programs) (*Setup, error) {
	if os.Geteuid() != 0 {
		return nil, refuse("setting up a host needs root", "run it as root, or with --host-sudo")
	}
	sys, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Setup{programs: p, sys: sys}, nil
}

// Close lets go of systemd.
func (s *Setup) Close() { s.sys.close() }

// Outcome is what a run came to.
type Outcome string

// The outcomes.
const (
	OutcomeDone      Outcome = "set up"
	OutcomeUnchanged Outcome = "unchanged" // nothing to do
	OutcomePlanned   Outcome = "planned"   // --dry-run
	OutcomeRemoved   Outcome = "removed"
	// OutcomeOther: the machine is a host already, by units of its own.
	OutcomeOther Outcome = "not ours"
)

// Verbs of a Change.
const (
	Create = "create"
	Update = "update"
	Remove = "remove"
	Keep   = "keep" // it should be another way, but is somebody else's
)

// Change is one thing that setup does, did or leaves.
type Change struct {
	Verb string `json:"verb"`
	Kind string `json:"kind"` // group, user, directory, file or link
	Name string `json:"name"` // a path, or a name
	Diff string `json:"diff,omitempty"`
	Note string `json:"note,omitempty"`

	item item
	was  string // SHA-256 of the file that is replaced
	// takeBack is for what is a VM's: nothing that setup makes.
	takeBack func() error
}

// Report is what Apply and Remove answer.
type Report struct {
	Outcome Outcome  `json:"outcome"`
	Changes []Change `json:"changes,omitempty"`
	// Advice is Nix to put into the configuration of a NixOS host, which setup
	// leaves alone.
	Advice   string   `json:"advice,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// doing reports whether a list of changes changes anything.
func doing(changes []Change) bool {
	for _, c := range changes {
		if c.Verb != Keep {
			return true
		}
	}
	return false
}

func (s *Setup) path(p string) string { return filepath.Join(s.root, p) }

// lockFile is held while one setup changes the machine.
const lockFile = "/run/ferry-setup.lock"

func (s *Setup) lock() (unlock func(), err error) {
	f := flock.New(s.path(lockFile), flock.SetPermissions(0o600))
	free, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", lockFile, err)
	}
	if !free {
		return nil, &hostapi.Failure{Kind: hostapi.KindLocked, Message: "another `ferry host setup` is at work on this machine", Hint: "wait for it to end, then run again"}
	}
	return func() {
		_ = os.Remove(f.Path())
		_ = f.Unlock()
	}, nil
}

func refuse(message, hint string) *hostapi.Failure {
	return hostapi.Refuse(message, hint)
}

// Apply makes the machine a host, or says what is to be done with dryRun. Run
// again it does what is missing. Nothing that runs is restarted. The error is a
// *host.Failure where the machine cannot be a host, or something that is not
// setup's is in the way; nothing is changed then.
func (s *Setup) Apply(ctx context.Context, dryRun bool) (*Report, error) {
	if !dryRun {
		unlock, err := s.lock()
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	if other, err := s.look(ctx); other != nil || err != nil {
		return other, err
	}
	made, err := s.readManifest()
	if err != nil {
		return nil, err
	}
	if made == nil {
		made = newManifest()
	}
	changes, err := s.compare(made)
	if err != nil {
		return nil, err
	}
	if err := conflicts(changes); err != nil {
		return nil, err
	}
	r := &Report{Outcome: OutcomeDone, Changes: changes}
	if _, err := os.Stat(s.path("/dev/kvm")); err != nil {
		r.Warnings = append(r.Warnings, "/dev/kvm is missing: VMs can only be emulated, which is slow")
	}
	if warning := s.withoutFerry(); warning != "" {
		r.Warnings = append(r.Warnings, warning)
	}
	switch {
	case !doing(changes) && !made.Unfinished:
		r.Outcome = OutcomeUnchanged
	case dryRun:
		r.Outcome = OutcomePlanned
	default:
		// Half of it is no use: it goes on though nobody waits for it any more.
		if err := s.apply(context.WithoutCancel(ctx), made, changes); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// conflicts refuses where a file that is not setup's is where one has to be.
func conflicts(changes []Change) error {
	var names []string
	for _, c := range changes {
		if c.Verb == Keep && c.Note == notOurs && !c.item.optional {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return refuse(fmt.Sprintf("not made by ferry, and in the way: %s", strings.Join(names, ", ")),
		"look at them and move them away; to adapt a unit of ferry's, use `systemctl edit`")
}
