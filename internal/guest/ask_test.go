package guest

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"ferry/internal/remote"
)

// here runs scripts on this machine.
type here struct{ asRoot bool }

func (h *here) Run(ctx context.Context, c remote.Command) error {
	h.asRoot = h.asRoot || c.AsRoot
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	return cmd.Run()
}

// A guest is asked who it is without becoming root there, which may take a
// password.
func TestAskNeedsNoRoot(t *testing.T) {
	h := &here{}
	who, err := Ask(t.Context(), h, "")
	if err != nil || who.HostName == "" || len(who.BootID) != 36 || who.HasStore || h.asRoot {
		t.Errorf("%+v, %v, as root: %t", who, err, h.asRoot)
	}
}

// What it says is checked.
func TestAskReadsAnswers(t *testing.T) {
	who, err := Ask(t.Context(), &scripted{output: "Welcome!\nMARKER hostname=web\nMARKER boot=b1\nMARKER current=" + system + "\nMARKER store=yes\n"}, "")
	if err != nil || who != (Identity{HostName: "web", BootID: "b1", Current: system, HasStore: true}) {
		t.Errorf("%+v, %v", who, err)
	}
	for _, current := range []string{"/etc/shadow", system + "/../../etc", "", strings.Repeat("x", 1<<16)} {
		who, err := Ask(t.Context(), &scripted{output: "MARKER boot=b1\nMARKER current=" + current + "\n"}, "")
		if err != nil || who.Current != "" {
			t.Errorf("%.80q: %+v, %v", current, who.Current, err)
		}
	}
	if _, err := Ask(t.Context(), &scripted{output: "no shell here\n"}, ""); err == nil {
		t.Error("an answer without a boot id was accepted")
	}
}
