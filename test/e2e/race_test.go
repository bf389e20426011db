//go:build lab

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"ferry/internal/guest"
	"ferry/internal/lab"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// inside runs the guest's scripts in a container, without ssh.
type inside struct{ *lab.Machine }

func (i inside) Run(ctx context.Context, c remote.Command) error {
	return i.Machine.Run(ctx, lab.Cmd{Args: c.Args, Stdin: c.Stdin, Stdout: c.Stdout})
}

// A confirmation that arrives as the time runs out: exactly one of the two wins,
// and everybody is told the same.
func TestConfirmAgainstExpiry(t *testing.T) {
	_, _ = newLive(t, "races")
	sh, system := inside{world.guest1}, microvm.StorePath(runningSystem(t, world.guest1))
	won := map[bool]int{}
	for i := range 30 {
		id := fmt.Sprintf("race-%d", i)
		sw := guest.Switch{ID: id, System: system, Action: "test"} // no time at all: until the guest next looks
		if err := guest.Start(t.Context(), sh, sw); err != nil {
			t.Fatal(err)
		}
		if _, _, err := guest.Follow(t.Context(), sh, id, 0, io.Discard); err != nil {
			t.Fatal(err)
		}
		output(t, world.guest1, "sleep", fmt.Sprintf("0.%03d", i*33)) // no verification: each race begins at another moment
		a, err := guest.Confirm(t.Context(), sh, guest.ConfirmRequest{ID: id, System: system})
		if err != nil || a.Confirmed == a.Undone {
			t.Fatalf("race %d: %+v, %v", i, a, err)
		}
		won[a.Confirmed]++
		again, err := guest.Confirm(t.Context(), sh, guest.ConfirmRequest{ID: id, System: system})
		if err != nil || again.Confirmed != a.Confirmed {
			t.Errorf("race %d: first %+v, then %+v, %v", i, a, again, err)
		}
		var log bytes.Buffer
		st, _, err := guest.FollowUndo(t.Context(), sh, id, 0, &log)
		if err != nil || st.Confirmed != a.Confirmed || (a.Undone && st.Code != 0) {
			t.Errorf("race %d: %+v but the undo %+v, %v\n%s", i, a, st, err, log.String())
		}
		if answer, _, err := guest.Undo(t.Context(), sh, id, ""); err != nil || (answer == guest.UndoConfirmed) != a.Confirmed {
			t.Errorf("race %d: %+v but asked for the undo %s, %v", i, a, answer, err)
		}
		if undone := output(t, world.guest1, "sh", "-c", `[ -e "$0/undo.log" ] && echo undone || :`, "/run/ferry/"+id) != ""; undone == a.Confirmed {
			t.Errorf("race %d: confirmed %v, undone %v", i, a.Confirmed, undone)
		}
	}
	t.Logf("%d confirmed, %d undone", won[true], won[false])
	if won[true] == 0 || won[false] == 0 {
		t.Error("one side won always: that was no race")
	}
}

// A start that is cut off and called off before it has changed anything never
// begins, however late it goes on.
func TestCalledOffSwitchNeverBegins(t *testing.T) {
	_, _ = newLive(t, "calledoff")
	sh, system := inside{world.guest1}, microvm.StorePath(runningSystem(t, world.guest1))
	if answer, _, err := guest.Undo(t.Context(), sh, "late", ""); err != nil || answer != guest.UndoNothing {
		t.Fatalf("%s, %v", answer, err)
	}
	var refused *guest.RefusedError
	err := guest.Start(t.Context(), sh, guest.Switch{ID: "late", System: system, Action: "switch", Window: time.Second})
	if !errors.As(err, &refused) {
		t.Fatalf("it began: %v", err)
	}
	if got := output(t, world.guest1, "sh", "-c", "ls /nix/var/nix/profiles; systemctl list-units --plain --no-legend 'ferry-*'"); got != "per-user" && got != "" {
		t.Errorf("left: %s", got)
	}
}
