package cli

import (
	"strings"
	"testing"

	"ferry/internal/cmdline"
)

// What is wrong is a wrong usage before anything is asked, and each command
// that activates says what it checks and what becomes of a failure.
func TestConfirmOptionsOfCommands(t *testing.T) {
	for _, command := range []string{"rebuild", "switch", "rollback"} {
		if code, _, errs := run(t, command, "web", "--check-tcp", "x"); code != cmdline.ExitUsage || !strings.Contains(errs, "host:port") {
			t.Errorf("%s: exit code %d, %s", command, code, errs)
		}
		_, help, _ := run(t, command, "--help")
		for _, text := range []string{"must be confirmed", "is undone", "--no-rollback", "--accept-failed-units", "--confirm-timeout DURATION", "--wait DURATION[=30m]", "4 failed and rolled back"} {
			if !strings.Contains(help, text) {
				t.Errorf("%s --help lacks %q:\n%s", command, text, help)
			}
		}
	}
}
