package nix

import (
	"regexp"
	"slices"

	"ferry/internal/trouble"
)

// What Nix says, from 2.26 to 2.34, of causes that lie beside what it was asked
// for. SQLite has words of its own for a full disk.
var (
	// OpenSSH says this where sshd's MaxSessions is used up.
	sessionRefusedPattern = regexp.MustCompile(`Session open refused by peer`)

	diskFullPattern = regexp.MustCompile(`No space left on device|database or disk is full|Disk quota exceeded`)
	platformPattern = regexp.MustCompile(`is required to build '.*', but I am a|[Rr]equired system( or feature not available|:)`)
)

// Section is the section of docs/troubleshooting.md about it.
func (e *CommandError) Section() trouble.Section {
	switch {
	case slices.ContainsFunc(e.Stderr, diskFullPattern.MatchString):
		return trouble.DiskFull
	case slices.ContainsFunc(e.Stderr, sessionRefusedPattern.MatchString):
		return trouble.SessionRefused
	case slices.ContainsFunc(e.Stderr, fetchFailures[0].pattern.MatchString):
		return trouble.UnsignedPath
	}
	return ""
}

// Hint is what to do next.
func (e *CommandError) Hint() string {
	switch e.Section() {
	case trouble.DiskFull:
		return "free space on the machine whose disk is full (`df -h /nix /tmp`, `nix-collect-garbage`), then run the same command again"
	case trouble.SessionRefused:
		return "raise MaxSessions in the sshd_config of the other machine (its default is 10) and reload sshd"
	case trouble.UnsignedPath:
		return "add the key of whoever has signed it to trusted-public-keys in that machine's nix.conf, if you trust it, or log in there as a user whom its trusted-users name"
	}
	return ""
}

// Section is the section of docs/troubleshooting.md about it.
func (e *BuildError) Section() trouble.Section {
	switch {
	case diskFullPattern.MatchString(e.Message), slices.ContainsFunc(e.LogTail, diskFullPattern.MatchString):
		return trouble.DiskFull
	case platformPattern.MatchString(e.Message):
		return trouble.OtherPlatform
	}
	return trouble.BuildFailed
}

// HintOn is what to do next; where names the machine that was to build it.
func (e *BuildError) HintOn(where string) string {
	switch e.Section() {
	case trouble.DiskFull:
		return "free space on " + where + " (`df -h /nix /tmp`, `nix-collect-garbage`), then run the same command again"
	case trouble.OtherPlatform:
		return where + " can't build for that platform, or lacks a feature: build on a machine that can (--build-on), or name one in `builders` of its nix.conf"
	}
	return "the whole log: nix log " + string(e.Derivation) + " (on " + where + ")"
}
