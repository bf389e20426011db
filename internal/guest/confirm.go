package guest

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"io"
	"strconv"
	"strings"

	"ferry/internal/microvm"
)

//go:embed confirm.sh
var confirmScript string

//go:embed undo.sh
var undoScript string

//go:embed why.sh
var whyScript string

// ConfirmRequest says what a guest must be like to be confirmed.
type ConfirmRequest struct {
	ID     string            // the switch's deployment; empty in CheckBooted
	System microvm.StorePath // must run; empty: any
	// AcceptFailedUnits: units that have failed, and had not before, are no
	// reason to refuse.
	AcceptFailedUnits bool
	// FailedBefore are the units that had failed before, for CheckBooted; of a
	// switch the guest knows by itself.
	FailedBefore []string
	Command      string // for /bin/sh as root, must succeed; empty: none
}

// Refusal is why a guest did not let itself be confirmed.
type Refusal string

// The refusals. None: it is confirmed, or undone.
const (
	RefusedNot       Refusal = ""
	RefusedLost      Refusal = "lost"      // it was booted since, and knows nothing of the switch
	RefusedSwitching Refusal = "switching" // the switch has not ended
	RefusedSystem    Refusal = "system"    // it runs another system
	RefusedUnits     Refusal = "units"     // FailedUnits have failed and had not before
	RefusedCommand   Refusal = "command"   // the command failed, see Code and Output
)

// ConfirmAnswer is what the guest says to a ConfirmRequest.
type ConfirmAnswer struct {
	Confirmed bool // it stays; nothing undoes it any more
	Undone    bool // too late: the guest is going back, or has
	Refused   Refusal
	Current   microvm.StorePath // what it runs, where it came to look
	BootID    string
	// FailedUnits are those that count against it.
	FailedUnits []string
	Code        int    // exit status of the command that failed
	Output      string // the end of what the command said, or the switch that was undone, at most 4 KiB
	Why         string // it was undone; empty: not known
}

// Confirm decides that a switch stays, if the guest is as it should be. It can be
// repeated; against the guest's own expiry exactly one wins.
func Confirm(ctx context.Context, sh Shell, r ConfirmRequest) (ConfirmAnswer, error) {
	if r.ID == "" {
		return ConfirmAnswer{}, fmt.Errorf("confirming a switch: no deployment is named")
	}
	return confirm(ctx, sh, r)
}

// CheckBooted makes the same checks in a guest that has booted, and waits before
// until its systemd has started everything, as long as ctx allows.
func CheckBooted(ctx context.Context, sh Shell, r ConfirmRequest) (ConfirmAnswer, error) {
	r.ID = ""
	return confirm(ctx, sh, r)
}

func confirm(ctx context.Context, sh Shell, r ConfirmRequest) (ConfirmAnswer, error) {
	accept := "no"
	if r.AcceptFailedUnits {
		accept = "yes"
	}
	said := map[string]string{}
	var output end
	c := call{script: confirmScript, name: "confirm", said: said, log: &output}
	command := ""
	if r.Command != "" {
		command, c.stdin = "yes", strings.NewReader(r.Command)
	}
	c.args = []string{r.ID, string(r.System), accept, strings.Join(r.FailedBefore, " "), command}
	_, err := run(ctx, sh, c)
	a := ConfirmAnswer{
		Confirmed: said["confirmed"] == "yes", Undone: said["undone"] == "yes", Refused: Refusal(said["refused"]),
		BootID: word(said["boot"]), Why: said["why"], FailedUnits: unitsOf(said["failed"]), Output: strings.TrimSpace(string(output.kept)),
	}
	a.Current, _ = microvm.ParseStorePath(said["current"])
	a.Code, _ = strconv.Atoi(said["code"])
	switch a.Refused {
	case RefusedNot, RefusedLost, RefusedSwitching, RefusedSystem, RefusedUnits, RefusedCommand:
	default:
		return a, fmt.Errorf("the guest's answer is not understood: %.80q", a.Refused)
	}
	if err == nil && !a.Confirmed && !a.Undone && a.Refused == RefusedNot {
		err = fmt.Errorf("the guest's answer is incomplete: neither confirmed nor refused")
	}
	return a, err
}

// UndoAnswer is what the guest says when it is asked to undo a switch.
type UndoAnswer string

// The answers.
const (
	Undoing       UndoAnswer = "undoing"   // it goes back, or has: FollowUndo tells
	UndoNothing   UndoAnswer = "nothing"   // nothing was changed, and nothing will be
	UndoConfirmed UndoAnswer = "confirmed" // too late: the switch is confirmed
)

// Undo tells the guest to go back at once, also while the switch is under way.
// It can be repeated. why is noted there, for whoever asks later. bootID is that of
// the guest that answers: one that was booted since has nothing to undo.
func Undo(ctx context.Context, sh Shell, id, why string) (answer UndoAnswer, bootID string, err error) {
	said := map[string]string{}
	why, _, _ = strings.Cut(why, "\n")
	if _, err := run(ctx, sh, call{script: undoScript, name: "undo", said: said, args: []string{id, fmt.Sprintf("%.500s", why)}}); err != nil {
		return "", word(said["boot"]), err
	}
	switch a := UndoAnswer(said["answer"]); a {
	case Undoing, UndoNothing, UndoConfirmed:
		return a, word(said["boot"]), nil
	}
	return "", word(said["boot"]), fmt.Errorf("the guest's answer is incomplete: it does not say whether it undoes the switch")
}

// UndoStatus is how an undo ended.
type UndoStatus struct {
	Code      int  // of the previous system's switch-to-configuration: 0, or 4 if units failed
	Rebooting bool // that did not work: the guest boots instead
	Lost      bool // the guest knows nothing of it: it was booted since
	Died      bool // the unit that undoes is gone; Undo starts it again
	Confirmed bool // there is no undo: the switch was confirmed
}

// FollowUndo writes the undo's output to log, from byte offset on, until it has
// ended, or the switch is confirmed. It can be called again as Follow can.
func FollowUndo(ctx context.Context, sh Shell, id string, offset int64, log io.Writer) (UndoStatus, int64, error) {
	word, offset, err := follow(ctx, sh, []string{id, strconv.FormatInt(offset, 10), "undo"}, log)
	if err != nil {
		return UndoStatus{}, offset, err
	}
	switch word {
	case "0", "4":
		return UndoStatus{Code: int(word[0] - '0')}, offset, nil
	case "reboot":
		return UndoStatus{Rebooting: true}, offset, nil
	case "unknown":
		return UndoStatus{Lost: true}, offset, nil
	case "died":
		return UndoStatus{Died: true}, offset, nil
	case "confirmed":
		return UndoStatus{Confirmed: true}, offset, nil
	}
	return UndoStatus{}, offset, fmt.Errorf("the guest's answer is incomplete: it does not say how the undo ended")
}

// Undone is what a guest knows of a switch, as long as it isn't booted.
type Undone struct {
	Previous microvm.StorePath // what ran before it; empty: not known
	Why      string            // it was undone; empty: it was not, or nobody knows
	Output   string            // the end of what the switch said, at most 4 KiB
}

// Why asks the guest what it knows of a switch, and why it was undone.
func Why(ctx context.Context, sh Shell, id string) (Undone, error) {
	said := map[string]string{}
	var output end
	_, err := run(ctx, sh, call{script: whyScript, name: "why", args: []string{id}, said: said, log: &output, silence: lookSilence})
	u := Undone{Why: said["why"], Output: strings.TrimSpace(string(output.kept))}
	u.Previous, _ = microvm.ParseStorePath(said["previous"])
	return u, err
}
