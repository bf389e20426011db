// Package trouble names the sections of docs/troubleshooting.md, so that an error
// can say which one explains it. It must not know what is in them, nor any of the
// errors.
package trouble

// Section is the name of a section: the anchor of its heading, and what `ferry
// explain` takes.
type Section string

// The sections.
const (
	UnknownHostKey   Section = "unknown-host-key"
	ChangedHostKey   Section = "changed-host-key"
	LoginRefused     Section = "login-refused"
	Unreachable      Section = "machine-out-of-reach"
	SessionRefused   Section = "ssh-session-refused"
	NoisyShell       Section = "noisy-login-shell"
	Sudo             Section = "sudo"
	NixNotFound      Section = "nix-not-found"
	OldNix           Section = "nix-is-too-old"
	UntrustedUser    Section = "user-not-trusted-by-nix"
	UnsignedPath     Section = "path-without-a-signature"
	DiskFull         Section = "disk-full"
	FlakeNotFound    Section = "flake-not-found"
	UnknownVM        Section = "vm-not-in-the-flake"
	UntrackedFile    Section = "file-unknown-to-git"
	EvaluationFailed Section = "evaluation-failed"
	BuildFailed      Section = "build-failed"
	OtherPlatform    Section = "another-platform"
	Locked           Section = "locked-by-another-deployment"
	NotAHost         Section = "machine-is-not-a-host-yet"
	DeclaredByHost   Section = "vm-declared-by-its-host"
	WrongTarget      Section = "wrong-machine-at-the-target"
	StoreNotShared   Section = "store-not-shared"
	MissingShare     Section = "share-source-missing"
	SwitchInhibitors Section = "switch-inhibitors"
	UnitsFailed      Section = "units-failed-in-the-guest"
	ChecksFailed     Section = "health-checks-failed"
	NotConfirmed     Section = "not-confirmed-and-undone"
	UnitDown         Section = "unit-did-not-stay-up"
	NoKVM            Section = "no-kvm"
	LeftUnfinished   Section = "deployment-left-unfinished"
)

// Of is the section that explains an error: that of the outermost error that has
// one; empty where none has.
func Of(err error) Section {
	return first(err, func(err error) Section {
		if e, ok := err.(interface{ Section() Section }); ok {
			return e.Section()
		}
		return ""
	})
}

// Hint is what can be done about an error: what the outermost error says that says
// anything of it.
func Hint(err error) string {
	return first(err, func(err error) string {
		if e, ok := err.(interface{ Hint() string }); ok {
			return e.Hint()
		}
		return ""
	})
}

// first asks an error, then those that it wraps.
func first[T ~string](err error, ask func(error) T) T {
	if err == nil {
		return ""
	}
	if said := ask(err); said != "" {
		return said
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return first(e.Unwrap(), ask)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if said := first(inner, ask); said != "" {
				return said
			}
		}
	}
	return ""
}
