// Package nix is the nix command line: evaluation, copying, building, profiles.
// What differs between versions of Nix, and how its messages are to be read,
// stays in here. It knows store paths and derivations, but no flake schema, no
// MicroVM, no SSH connection (a copy's destination is only a store URL) and no
// state directory.
package nix

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ferry/internal/trouble"
)

// Nix runs Nix's programs on this machine. The zero value runs `nix` from PATH,
// with the environment of the process, and logs nothing. It keeps no state
// between calls and may be used by several goroutines if Log may.
type Nix struct {
	// Program is the nix program, a name or a path; empty means `nix`. The older
	// programs (nix-store, nix-env) are taken from its directory.
	Program string
	// Env holds KEY=value entries that are added to the environment.
	Env []string
	// Log receives what Nix says on stderr while it runs, a whole line with its
	// newline per Write, without colours, and without the lists of what Nix is
	// about to build or fetch, of which it tells again. Nil drops it.
	Log io.Writer

	grace time.Duration // termGrace unless a test sets it
}

// ErrNoNix says that this machine has no nix program where ferry looks.
var ErrNoNix error = noNixError{}

type noNixError struct{}

func (noNixError) Error() string {
	return "nix was not found (neither on PATH nor in " + strings.Join(installDirs(), ", ") + ")"
}

// Section is the section of docs/troubleshooting.md about it.
func (noNixError) Section() trouble.Section { return trouble.NixNotFound }

// Hint is what to do next.
func (noNixError) Hint() string {
	return "install Nix here (https://nixos.org/download), or put it on your PATH"
}

// installDirs are where Nix's installer and NixOS put the programs, and a user's own
// profile. A non-login session, such as a command over ssh or one under sudo, may not
// have them on its PATH. Root takes no program from the home of whoever used sudo.
func installDirs() []string {
	dirs := []string{"/nix/var/nix/profiles/default/bin", "/run/current-system/sw/bin"}
	home := "/root"
	if os.Geteuid() != 0 {
		home = os.Getenv("HOME")
	}
	if filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, ".nix-profile/bin"), filepath.Join(home, ".local/state/nix/profile/bin"))
	}
	return dirs
}

// find returns the path of one of Nix's programs: "nix", "nix-store", "nix-env".
// The error is ErrNoNix, or names the older program that is missing.
func (n *Nix) find(program string) (string, error) {
	main := n.Program
	if main == "" {
		main = "nix"
	}
	path, err := lookup(main)
	if err != nil {
		return "", err
	}
	if program == "nix" {
		return path, nil
	}
	if sibling := filepath.Join(filepath.Dir(path), program); executable(sibling) {
		return sibling, nil
	}
	path, err = lookup(program)
	if err != nil {
		return "", fmt.Errorf("%s belongs to nix but is not there: %w", program, err)
	}
	return path, nil
}

// OnPath reports whether others who log in here, or Nix on their behalf, find a program
// without being told where it is.
func OnPath(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func lookup(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	if filepath.Base(program) == program {
		for _, dir := range installDirs() {
			if path := filepath.Join(dir, program); executable(path) {
				return path, nil
			}
		}
	}
	return "", ErrNoNix
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
