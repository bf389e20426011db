package guest

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ferry/internal/microvm"
)

//go:embed switch.sh
var switchScript string

//go:embed follow.sh
var followScript string

//go:embed rollback.sh
var rollbackScript string

// Switch says what to switch to.
type Switch struct {
	ID       string // of the deployment; names the units ferry-switch-ID and ferry-rollback-ID
	System   microvm.StorePath
	Action   string // switch, test or dry-activate
	HostName string // the guest must call itself so; empty: not checked
	// The registration of the system's closure, as nix-store --load-db reads it,
	// comes from one of these: RegInfo is a file of the store, Registration is
	// sent, Runner names a runner whose kernel command line has `regInfo=FILE`.
	RegInfo      string
	Registration io.Reader
	Runner       microvm.StorePath
	// Token is a path that the host has just made in its store; a guest that does
	// not see it isn't that host's. Empty: nobody looks.
	Token microvm.StorePath
	// Window is how long after the switch's end the guest waits for Confirm
	// before it goes back by itself. Limit is how long the switch may take
	// before it does; 0: as long as it wants. Both are rounded up to seconds.
	Window, Limit time.Duration
	// By is who switches, for others who want to: user@machine.
	By string
	// NoRollback: the guest never goes back by itself, and can't be told to.
	NoRollback bool
}

// RefusedError is the guest's reason not to begin a switch. Nothing is left of
// the attempt.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the guest refused: " + e.Reason }

// LockedError says that somebody else switches the guest, or has not confirmed that
// yet. Nothing is left of the attempt.
type LockedError struct {
	ID string // of the other deployment
	By string // user@machine; empty: not known
}

func (e *LockedError) Error() string {
	if e.By == "" {
		return fmt.Sprintf("deployment %.64q is neither confirmed nor undone yet", e.ID)
	}
	return fmt.Sprintf("%.100q switches the guest, deployment %.64q", e.By, e.ID)
}

// lockedBy reads `ID:PID:START:BY`.
func lockedBy(turn string) *LockedError {
	words := append(strings.SplitN(turn, ":", 4), "", "", "")
	return &LockedError{ID: words[0], By: words[3]}
}

// oddInTurn is what a name has that can't be in a turn.
var oddInTurn = regexp.MustCompile(`[^A-Za-z0-9@._-]+`)

// Start begins the switch and returns once it is under way in a unit of its
// own, with the way back armed before anything is changed. The error is a
// *RefusedError where the guest would not, a *LockedError where somebody else
// switches it; after another one call Undo.
func Start(ctx context.Context, sh Shell, s Switch) error {
	reg := s.RegInfo
	switch {
	case reg != "":
	case s.Registration != nil:
		reg = "-"
	case s.Runner != "":
		reg = "runner:" + string(s.Runner)
	}
	back := whole(rollbackScript)
	if s.NoRollback || s.Action == "dry-activate" {
		back = ""
	}
	said := map[string]string{}
	_, err := run(ctx, sh, call{
		script: switchScript, name: "switch", said: said, stdin: s.Registration,
		args: []string{string(s.System), s.Action, s.ID, s.HostName, reg, seconds(s.Window), seconds(s.Limit), back, string(s.Token),
			fmt.Sprintf("%.100s", oddInTurn.ReplaceAllString(s.By, "?"))},
	})
	switch {
	case said["locked"] != "":
		return lockedBy(said["locked"])
	case said["refused"] != "":
		return &RefusedError{Reason: said["refused"]}
	case err != nil:
		return err
	case said["started"] != s.ID:
		return fmt.Errorf("the guest did not say that the switch started")
	}
	return nil
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// Status is how a switch ended.
type Status struct {
	Code int  // exit status of switch-to-configuration; 4 means that units failed
	Died bool // its unit is gone without one
	Late bool // it took longer than Switch.Limit, and was ended
	Lost bool // the guest knows nothing of it: it was booted since
}

// Follow writes the switch's output to log, from byte offset on, until it has
// ended. When the connection is lost, it can be called again with the offset
// that it returned.
func Follow(ctx context.Context, sh Shell, id string, offset int64, log io.Writer) (Status, int64, error) {
	word, offset, err := follow(ctx, sh, []string{id, strconv.FormatInt(offset, 10), "switch"}, log)
	if err != nil {
		return Status{}, offset, err
	}
	switch word {
	case "unknown":
		return Status{Lost: true}, offset, nil
	case "died":
		return Status{Died: true}, offset, nil
	case "overdue":
		return Status{Late: true}, offset, nil
	}
	code, err := strconv.Atoi(word)
	if err != nil {
		return Status{}, offset, fmt.Errorf("the guest's answer is incomplete: no exit status of the switch")
	}
	return Status{Code: code}, offset, nil
}

// follow runs the script with its ID, offset and kind, and returns the word that
// says how what is followed has ended, and the new offset.
func follow(ctx context.Context, sh Shell, args []string, log io.Writer) (string, int64, error) {
	offset, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("following in the guest: %w", err)
	}
	said := map[string]string{}
	n, err := run(ctx, sh, call{script: followScript, name: "follow", said: said, log: log, args: args, silence: followSilence})
	return said["status"], offset + n, err
}
