package cmdline

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// These are set by internal/release: -ldflags "-X ferry/internal/cmdline.release=v1.2.0".
// The last three are for where Go can't ask git, as in a build of Nix.
var release, commit, date, modified string

// stamp is what a build has been told about itself.
type stamp struct{ release, commit, date, modified string }

// Build is what a binary knows of itself. All of it comes from the commit, none
// from the time or the place of the build, so that the same commit yields the
// same binary: helpers are told apart by their SHA-256.
type Build struct {
	Version  string `json:"version"` // a release's tag, else `development`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"`     // of the commit, RFC 3339, UTC
	Modified bool   `json:"modified,omitempty"` // built from a tree with changes on top of the commit
}

// ThisBuild is what this very program knows of itself.
func ThisBuild() Build {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(info, stamp{release, commit, date, modified})
}

const shortCommit = 12 // letters, as in Go's own versions

// describeBuild reads what Go has put into the binary; what the build has been told
// wins over it.
func describeBuild(info *debug.BuildInfo, told stamp) Build {
	var b Build
	if info != nil {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Date = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
		b.Version, _, _ = strings.Cut(info.Main.Version, "+")
	}
	if told.commit != "" {
		b.Commit, b.Date, b.Modified = told.commit, told.date, told.modified == "true"
	}
	// Without a tag Go makes a version up of the commit, which is named anyway.
	if b.Version == "(devel)" || b.Version == "" || b.Commit != "" && strings.Contains(b.Version, short(b.Commit)) {
		b.Version = "development"
	}
	if told.release != "" {
		b.Version = told.release
	}
	return b
}

func short(commit string) string { return commit[:min(len(commit), shortCommit)] }

// String is such as `v1.2.0 (commit 3146ebc8d6af of 2026-11-24T12:44:18Z)`.
func (b Build) String() string {
	if b.Commit == "" {
		return b.Version
	}
	s := b.Version + " (commit " + short(b.Commit)
	if b.Date != "" {
		s += " of " + b.Date
	}
	if b.Modified {
		s += ", with changes"
	}
	return s + ")"
}

// AddVersion gives a command below the program's own the option --version, too.
func AddVersion(cmd *cobra.Command) {
	show := cmd.Flags().Bool("version", false, "version for "+cmd.Name())
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*show {
			return run(cmd, args)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s version %s\n", cmd.Root().Name(), ThisBuild())
		return err
	}
}
