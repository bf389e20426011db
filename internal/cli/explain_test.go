package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ferry/internal/cli/console"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/trouble"
	"ferry/internal/ui"
)

func TestExplainShowsASection(t *testing.T) {
	code, out, errw := run(t, "explain", "unknown-host-key")
	if code != 0 || errw != "" || !strings.HasPrefix(out, "Unknown host key\n================\n\n    error: ssh to ") || !strings.Contains(out, "ssh-keygen -lf") {
		t.Errorf("%d, %q, %q", code, out, errw)
	}
	code, out, _ = run(t, "explain")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) < 20 || lines[0] != "unknown-host-key" {
		t.Errorf("%d, %q", code, out)
	}
	code, out, _ = run(t, "explain", "no-kvm", "--json")
	var s struct{ Section, Title, Text string }
	if err := json.Unmarshal([]byte(out), &s); code != 0 || err != nil || s.Section != "no-kvm" || s.Text == "" {
		t.Errorf("%d, %q: %v", code, out, err)
	}
	code, _, errw = run(t, "explain", "nothing")
	if code != cmdline.ExitUsage || !strings.Contains(errw, `"nothing" is not the name of an error`) || !strings.Contains(errw, "hint: ferry explain lists them") {
		t.Errorf("%d, %q", code, errw)
	}
}

func TestExplainTakesTitlesAndNamesTheNearest(t *testing.T) {
	code, out, _ := run(t, "explain", "Unknown host key")
	if code != 0 || !strings.HasPrefix(out, "Unknown host key\n=") {
		t.Errorf("%d, %q", code, out)
	}
	code, _, errw := run(t, "explain", "unknown-hostkey\x1b[31m")
	if code != cmdline.ExitUsage || strings.Contains(errw, "\x1b") {
		t.Errorf("%d, %q", code, errw)
	}
	if _, _, errw = run(t, "explain", "unknwon-host-key"); !strings.Contains(errw, "did you mean `unknown-host-key`?") {
		t.Errorf("%q", errw)
	}
}

func TestExplainCompletesNames(t *testing.T) {
	_, out, _ := run(t, "__complete", "explain", "unknown-")
	if !strings.HasPrefix(out, "unknown-host-key\t") {
		t.Errorf("%q", out)
	}
}

// A host may name any section: only one that is there is mentioned.
func TestErrorsNameASectionThatIsThere(t *testing.T) {
	ssh := remote.NewConnectError(microvm.Address{Host: "server"}, "Host key verification failed.")
	for want, err := range map[string]error{
		"more: ferry explain unknown-host-key\n":         fmt.Errorf("web: %w", ssh),
		"more: ferry explain no-kvm\n":                   hostapi.Refuse("no", "look").About(trouble.NoKVM),
		"error: nothing like that\nhint: look\n":         hostapi.Refuse("nothing like that", "look").About("../../etc/passwd"),
		"more: ferry explain not-confirmed-and-undone\n": &deploy.Error{VM: "web", RolledBack: true, Err: ssh},
		"nobody could log in after the change":           &deploy.Error{VM: "web", RolledBack: true, Err: ssh},
	} {
		var out bytes.Buffer
		(&console.Console{UI: ui.New(&out, &out, true)}).PrintError(err)
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "passwd") {
			t.Errorf("%q, wanted %q", out.String(), want)
		}
	}
}
