package hostapi

import (
	"time"

	"ferry/internal/microvm"
)

// Facts is what a host says of itself and of one VM.
type Facts struct {
	Protocol int    `json:"protocol"`
	StateDir string `json:"stateDir"`
	// Now is the host's clock, by which UnitState.Since is.
	Now           time.Time `json:"now,omitzero"`
	MissingShares []string  `json:"missingShares,omitempty"`
	// NoNixDaemon: nix-daemon is not on the PATH there, so that no other machine's
	// Nix can start it over SSH.
	NoNixDaemon bool    `json:"noNixDaemon,omitempty"`
	VM          VMState `json:"vm"`
	Lock        *Lock   `json:"lock,omitempty"`
	// Built: the runner that the record names is in the store and kept there by
	// one of the VM's own links.
	Built bool `json:"built"`
	// Plan is what a deployment would do. Where the new runner is not built yet
	// it rests on the records, and Plan.Predicted is set.
	Plan *Plan `json:"plan,omitempty"`
	// Target is the address of the guest in the last deployment that knew it;
	// only where no record was sent.
	Target     string `json:"target,omitempty"`
	TargetSudo bool   `json:"targetSudo,omitempty"`
	// Undone is the runner of the VM's last deployment, UndoneID, where that was
	// rolled back; only where no record was sent.
	Undone   microvm.StorePath `json:"undone,omitempty"`
	UndoneID string            `json:"undoneId,omitempty"`
	// Installed is the build that `current` is from, where the history knows it;
	// only where no record was sent.
	Installed *JobBuild `json:"installed,omitempty"`
	// Origin is the last deployment that brought `current` and says of which revision,
	// where the history knows it; only where it was asked for.
	Origin *Deployment `json:"origin,omitempty"`
}

// JobBuild is a build of a job of Hydra. Of one job, the one with the greater
// number is newer.
type JobBuild struct {
	Job string `json:"job"` // its address
	ID  int64  `json:"id"`
}

// VMState is one VM on its host: its links and its unit.
type VMState struct {
	Exists  bool              `json:"exists"` // `current` is there
	Current microvm.StorePath `json:"current,omitempty"`
	Old     microvm.StorePath `json:"old,omitempty"`
	Booted  microvm.StorePath `json:"booted,omitempty"`
	// Running is the system that the host believes the guest runs: the last one
	// switched to since the unit started, else the one it booted. Empty when
	// the VM does not run.
	Running microvm.StorePath `json:"running,omitempty"`
	// ToStart: ferry installed the VM or was starting it, and it has not been up
	// since. Otherwise a VM that is down was stopped by somebody.
	ToStart bool `json:"toStart,omitempty"`
	// Unsure: the last live switch failed, or nobody saw how it ended. The next
	// one runs also where the system is the same.
	Unsure bool      `json:"unsure,omitempty"`
	Flake  string    `json:"flake,omitempty"`
	Unit   UnitState `json:"unit"`
}

// UnitState is systemd's view of a unit.
type UnitState struct {
	LoadState    string `json:"loadState"`
	ActiveState  string `json:"activeState"`
	SubState     string `json:"subState"`
	InvocationID string `json:"invocationId,omitempty"` // hex, of the current start
	Result       string `json:"result,omitempty"`
	Restarts     uint32 `json:"restarts,omitempty"`
	// Since is when the unit was last up, zero if it never was since boot.
	Since time.Time `json:"since,omitzero"`
	// Killed says in words that the guest that ran before was killed, of a stop or
	// restart that has just been made.
	Killed string `json:"killed,omitempty"`
}

// Up reports whether the unit's main process runs, also while it reads its
// configuration again.
func (u UnitState) Up() bool {
	return u.ActiveState == "active" || u.ActiveState == "reloading" || u.ActiveState == "refreshing"
}

// Stopped reports whether somebody stopped the unit, or nobody started it.
func (u UnitState) Stopped() bool { return u.ActiveState == "inactive" }

// Lock says who deploys a VM.
type Lock struct {
	By         string    `json:"by"` // user@machine of the operator
	Deployment string    `json:"deployment"`
	Since      time.Time `json:"since"`
	PID        int       `json:"pid,omitempty"` // of a session that may be told to end
}

// Activation is how what runs is brought to the new runner.
type Activation string

// The activations. None: nothing running is touched.
const (
	ActivateNone    Activation = "none"
	ActivateLive    Activation = "live"
	ActivateRestart Activation = "restart"
	ActivateStart   Activation = "start"
)

// Plan is what a deployment does, decided by Decide.
type Plan struct {
	Predicted  bool       `json:"predicted,omitempty"` // made before the build
	Install    bool       `json:"install"`             // `current` moves
	WriteFlake bool       `json:"writeFlake,omitempty"`
	Activation Activation `json:"activation"`
	Reason     string     `json:"reason,omitempty"` // why this activation, in words
	// Hardware is what differs from the hardware that runs; Waits is what of the
	// change only a later restart will bring.
	Hardware []string `json:"hardware,omitempty"`
	// Inhibitors are what makes NixOS refuse to switch to the new system.
	Inhibitors []string          `json:"inhibitors,omitempty"`
	Waits      []string          `json:"waits,omitempty"`
	Stopped    bool              `json:"stopped,omitempty"` // the VM is stopped and stays so
	NeedTarget bool              `json:"needTarget,omitempty"`
	Runner     microvm.StorePath `json:"runner,omitempty"`
	System     microvm.StorePath `json:"system,omitempty"`
	HostName   string            `json:"hostName,omitempty"` // of the new system
	RegInfo    string            `json:"regInfo,omitempty"`  // registration file of the system's closure, below the store
	Previous   microvm.StorePath `json:"previous,omitempty"` // the runner that `current` names now
	// Closure are the lines of `nix store diff-closures` from what runs (else
	// from Previous); empty with Changed set means configuration only.
	Closure []string `json:"closure,omitempty"`
	Changed bool     `json:"changed"`
}

// Nothing reports whether there is nothing to do at all.
func (p Plan) Nothing() bool {
	return !p.Install && !p.WriteFlake && p.Activation == ActivateNone
}
