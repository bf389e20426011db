package guest

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConfirmReadsAnswers(t *testing.T) {
	tests := []struct {
		name, output string
		want         ConfirmAnswer
		fails        bool
	}{
		{"confirmed", "MARKER boot=b1\nMARKER current=" + system + "\nMARKER confirmed=yes\n",
			ConfirmAnswer{Confirmed: true, BootID: "b1", Current: system}, false},
		{"too late", "MARKER undone=yes\n", ConfirmAnswer{Undone: true}, false},
		{"failed units", "MARKER failed=a.service b.service \nMARKER refused=units\n",
			ConfirmAnswer{Refused: RefusedUnits, FailedUnits: []string{"a.service", "b.service"}}, false},
		{"failed command", "ferry confirmed=yes\nno table\nMARKER code=7\nMARKER refused=command\n",
			ConfirmAnswer{Refused: RefusedCommand, Code: 7, Output: "ferry confirmed=yes\nno table"}, false},
		{"no answer", "confirmed=yes\n", ConfirmAnswer{Output: "confirmed=yes"}, true},
		{"unknown answer", "MARKER refused=mood\n", ConfirmAnswer{Refused: "mood"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Confirm(t.Context(), &scripted{output: test.output}, ConfirmRequest{ID: "id"})
			if (err != nil) != test.fails {
				t.Fatalf("error %v", err)
			}
			if got.Confirmed != test.want.Confirmed || got.Undone != test.want.Undone || got.Refused != test.want.Refused ||
				got.Code != test.want.Code || got.Output != test.want.Output || !slices.Equal(got.FailedUnits, test.want.FailedUnits) ||
				got.BootID != test.want.BootID || got.Current != test.want.Current {
				t.Errorf("got %+v", got)
			}
		})
	}
	if _, err := Confirm(t.Context(), &scripted{output: "MARKER confirmed=yes\n"}, ConfirmRequest{}); err == nil {
		t.Error("a switch without an ID was confirmed")
	}
}

func TestUndoReadsAnswers(t *testing.T) {
	answer, boot, err := Undo(t.Context(), &scripted{output: "MARKER boot=b2\nMARKER answer=undoing\n"}, "id", "")
	if err != nil || answer != Undoing || boot != "b2" {
		t.Errorf("got %q %q %v", answer, boot, err)
	}
	if _, _, err := Undo(t.Context(), &scripted{output: "MARKER answer=perhaps\n"}, "id", ""); err == nil {
		t.Error("an unknown answer was accepted")
	}
	for word, want := range map[string]UndoStatus{
		"0": {}, "4": {Code: 4}, "reboot": {Rebooting: true}, "unknown": {Lost: true}, "died": {Died: true}, "confirmed": {Confirmed: true},
	} {
		got, offset, err := FollowUndo(t.Context(), &scripted{output: "x\nMARKER status=" + word + "\n"}, "id", 5, nil)
		if err != nil || got != want || offset != 7 {
			t.Errorf("%s: got %+v at %d, %v", word, got, offset, err)
		}
	}
	if _, _, err := FollowUndo(t.Context(), &scripted{output: "MARKER status=1\n"}, "id", 0, nil); err == nil {
		t.Error("a status that no undo ends with was accepted")
	}
}

func TestStartArmsTheWayBack(t *testing.T) {
	sw := Switch{ID: "id", System: system, Action: "switch", Window: 90 * time.Second, Limit: 1500 * time.Millisecond}
	for _, test := range []struct {
		action string
		never  bool
		armed  bool
	}{{"switch", false, true}, {"test", false, true}, {"switch", true, false}, {"dry-activate", false, false}} {
		g := &scripted{output: "MARKER started=id\n"}
		sw.Action, sw.NoRollback = test.action, test.never
		if err := Start(t.Context(), g, sw); err != nil {
			t.Fatal(err)
		}
		if got := g.args[len(g.args)-5:]; got[0] != "90" || got[1] != "2" || (got[2] != "") != test.armed {
			t.Errorf("%+v: window %s, limit %s, %d bytes of way back", test, got[0], got[1], len(got[2]))
		}
	}
}

// Every step that the scripts can be held at is listed, and the other way round.
func TestStepsAreThoseOfTheScripts(t *testing.T) {
	var named []Step
	for _, script := range []string{switchScript, rollbackScript, confirmScript, undoScript} {
		for _, m := range regexp.MustCompile(`(?m)^\s*at ([a-z-]+)$`).FindAllStringSubmatch(script, -1) {
			named = append(named, Step(m[1]))
		}
	}
	for _, s := range named {
		if !slices.Contains(Steps(), s) {
			t.Errorf("%s is not listed", s)
		}
	}
	for _, s := range Steps() {
		if !slices.Contains(named, s) {
			t.Errorf("no script stops at %s", s)
		}
	}
	if !strings.Contains(whole(lookScript), "at() {") {
		t.Error("the scripts don't have `at`")
	}
}

// A check command may contain a secret: it is in no argument, on this side or in the
// guest, and sees no input.
func TestCheckCommandIsNoArgument(t *testing.T) {
	g := newFakeGuest(t, "")
	g.write("bin/systemctl", "#!/bin/sh\n")
	word := "hunter" + filepath.Base(g.dir) + "x"
	command := "w=" + word[:6] + "; w=${w}" + word[6:] + `
for p in /proc/[0-9]*; do
  case "$(tr '\0' ' ' <"$p/cmdline" 2>/dev/null)" in *"$w"*) echo "seen: $p" ;; esac
done
[ -z "$(cat)" ] || echo "it has an input"
echo "asked with '$# arguments"; exit 3 # ` + word + "\n\n"
	command = strings.ReplaceAll(command, "'$#", "$#")
	sh := &scripted{output: "MARKER refused=command\n"}
	if _, err := CheckBooted(t.Context(), sh, ConfirmRequest{System: system, Command: command}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(sh.args, "\n"), word) || sh.stdin != command {
		t.Errorf("arguments %q, input %q", sh.args[5:], sh.stdin)
	}
	for _, shell := range []string{"sh", "bash", "dash"} {
		program, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		script := strings.NewReplacer("/run/current-system", g.dir+"/current-system", "/bin/sh ", program+" ").Replace(whole(confirmScript))
		cmd := exec.Command(program, append([]string{"-c", script, "ferry", "MARK"}, "", "", "yes", "", "yes")...)
		cmd.Env = []string{"PATH=" + filepath.Join(g.dir, "bin") + ":/usr/bin:/bin"}
		cmd.Stdin = strings.NewReader(command)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "asked with 0 arguments\n\nMARK code=3\nMARK refused=command") || strings.Contains(string(out), "seen:") || strings.Contains(string(out), "input") {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
}
