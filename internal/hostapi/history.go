package hostapi

import (
	"strings"
	"syscall"
	"time"

	"ferry/internal/microvm"
)

// History is the end of a VM's history, oldest entry first.
type History struct {
	VM      microvm.Name   `json:"vm"`
	Entries []HistoryEntry `json:"entries"`
	// Broken counts lines that can't be read: a crash of the host may cut one.
	Broken int `json:"broken,omitempty"`
}

// HistoryEntry is one line of a VM's history: one deployment.
type HistoryEntry struct {
	Deployment
	Ended   time.Time         `json:"ended"`
	Outcome string            `json:"outcome"`
	Error   string            `json:"error,omitempty"`
	Runner  microvm.StorePath `json:"runner,omitempty"`
	// Killed says in words that the guest that ran before had to be killed.
	Killed string `json:"killed,omitempty"`
	// Settled says what the host made of an interrupted deployment.
	Settled Settled `json:"settled,omitempty"`
	// Down: it was undone, but what ran before does not start any more.
	Down bool `json:"down,omitempty"`
}

// Settled is how an interrupted deployment was brought to an end.
type Settled string

// The ends. Empty: nothing had been changed, or only the guest knows.
const (
	SettledUndone   Settled = "undone"
	SettledFinished Settled = "finished"
	// SettledUnconfirmed: nobody has confirmed what runs, and it was left alone.
	SettledUnconfirmed Settled = "unconfirmed"
	// SettledSuperseded: something else was installed since, which was left alone.
	SettledSuperseded Settled = "superseded"
)

// The outcomes that the history has: what the operator's side says at the end of a
// deployment, or the host where nobody does, and of what a unit was told.
const (
	OutcomeUnchanged   = "unchanged"
	OutcomeInstalled   = "installed"
	OutcomeSwitched    = "switched"
	OutcomeRestarted   = "restarted"
	OutcomeStarted     = "started"
	OutcomeStopped     = "stopped"
	OutcomeTested      = "tested"
	OutcomeFailed      = "failed"
	OutcomeRolledBack  = "rolled-back" // it failed and was undone
	OutcomeInterrupted = "interrupted" // only the host says so
)

// Phase is how far a deployment has come that changes the VM's links or unit.
type Phase string

// The phases, in their order. Before the first one nothing of the VM has changed
// on the host. One that is found while nobody holds the VM's lock says what is
// left to do.
const (
	PhaseCommit  Phase = "commit"  // the links are being moved
	PhaseRestart Phase = "restart" // the unit is being started, checks are made
	PhaseAwait   Phase = "await"   // the operator's answer is waited for
	PhaseUndo    Phase = "undo"    // all is being put back
	PhaseDone    Phase = "done"    // only the history remains to be written
)

// MaxHead bounds what a reason shows of what failed, in characters: a command
// line may be long, and what it said comes after it.
const MaxHead = 200

// Reason is why a deployment failed, in one line; empty where it did not.
func (e HistoryEntry) Reason() string { return Reason(e.Error) }

// Reason makes one line of an error: what failed, which is the first line, and
// why. An error of a program has its command line in front and what it said, Nix's
// `error:` for one, in the lines after.
func Reason(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	head, why := lines[0], ""
	full := syscall.ENOSPC.Error() // behind whatever else is said
	for _, line := range lines[1:] {
		line = strings.TrimSpace(line)
		said := strings.TrimSpace(strings.TrimPrefix(line, "error:"))
		switch {
		case said == "":
		case strings.Contains(strings.ToLower(why), full):
		case strings.Contains(strings.ToLower(said), full), said != line, !strings.HasPrefix(why, "error:"):
			why = line
		}
	}
	why = strings.TrimSpace(strings.TrimPrefix(why, "error:"))
	if r := []rune(head); why != "" && len(r) > MaxHead {
		head = string(r[:MaxHead]) + "…"
	}
	if why == "" || strings.Contains(head, why) {
		return head
	}
	return strings.TrimSuffix(head, ":") + ": " + why
}

// Runs: there is a VM that a restart would end. One that systemd starts again and
// again, or whose start is only queued, does not run.
func (u UnitState) Runs() bool {
	if u.ActiveState == "activating" {
		return u.SubState != "auto-restart" && u.SubState != "queued"
	}
	return u.Up()
}
