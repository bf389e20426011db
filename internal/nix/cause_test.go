package nix

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ferry/internal/trouble"
)

func TestCausesBesideABuildAreNamed(t *testing.T) {
	for _, c := range []struct {
		stderr string
		want   trouble.Section
	}{
		{"error: builder for '" + inner + "' failed with exit code 3", trouble.BuildFailed},
		{"inner> cp: error writing 'x': No space left on device\nerror: builder for '" + inner + "' failed with exit code 1", trouble.DiskFull},
		{"error: a 'x86_64-linux' with features {} is required to build '" + inner + "', but I am a 'aarch64-darwin' with features {}", trouble.OtherPlatform},
		{"error: Cannot build '" + inner + "'.\n       Reason: required system or feature not available\n       Required system: 'x86_64-linux' with features {}", trouble.OtherPlatform},
	} {
		b := reportOf(c.stderr + "\n")
		if b == nil || b.Section() != c.want || !strings.Contains(b.HintOn("root@server"), "root@server") {
			t.Errorf("%s: %v", c.stderr, b)
		}
	}
}

func TestCausesBesideACommandAreNamed(t *testing.T) {
	for line, want := range map[string]trouble.Section{
		"error: writing to file: No space left on device":                                                         trouble.DiskFull,
		"error: executing SQLite statement 'insert …': database or disk is full (in '/nix/var/nix/db/db.sqlite')": trouble.DiskFull,
		"mux_client_request_session: session request failed: Session open refused by peer":                        trouble.SessionRefused,
		"error: cannot add path '/nix/store/x' because it lacks a signature by a trusted key":                     trouble.UnsignedPath,
		"error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused":              "",
	} {
		err := fmt.Errorf("copying: %w", &CommandError{Command: "nix copy", Err: errors.New("exit status 1"), Stderr: []string{"copying 3 paths...", line}})
		if got := trouble.Of(err); got != want || (trouble.Hint(err) == "") != (want == "") {
			t.Errorf("%s: %q, hint %q", line, got, trouble.Hint(err))
		}
	}
}
