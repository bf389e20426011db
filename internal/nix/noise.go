package nix

import (
	"strings"

	"ferry/internal/trouble"
)

// NoisyShellError is a connection to another machine's Nix whose login shell
// printed something before Nix's protocol began. ferry's own commands skip such
// text; Nix can't.
type NoisyShellError struct {
	Err *CommandError
}

func (e *NoisyShellError) Error() string {
	return "the login shell of the other machine prints text where Nix's protocol begins: " + e.Err.Error()
}

// Unwrap gives the *CommandError.
func (e *NoisyShellError) Unwrap() error { return e.Err }

// Section is the section of docs/troubleshooting.md about it.
func (*NoisyShellError) Section() trouble.Section { return trouble.NoisyShell }

// Hint is what the operator can do next.
func (e *NoisyShellError) Hint() string {
	return "its start-up files (~/.bashrc, ~/.profile, /etc/profile.d and the like) must print nothing for shells that are not interactive: `ssh HOST true` must print nothing"
}

// explained recognises failures whose cause Nix does not name.
func explained(e *CommandError) error {
	for _, line := range e.Stderr {
		// 2.8 and newer: cannot open connection to remote store '…': error:
		// protocol mismatch, got '…'
		if strings.HasPrefix(line, "error:") && strings.Contains(line, "protocol mismatch") {
			return &NoisyShellError{Err: e}
		}
	}
	return e
}
