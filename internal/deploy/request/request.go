package request

import (
	"time"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/update"
)

// Deploy is what the user wants for one VM.
type Deploy struct {
	Attribute microvm.Name // nixosConfigurations.ATTRIBUTE
	// Name is the VM's name on the host; empty: the attribute.
	Name   microvm.Name
	Source flake.Source
	// Host and Target win over the flake's addresses; nil: those of the flake.
	Host, Target         *microvm.Address
	HostSudo, TargetSudo bool
	Action               hostapi.Action
	Restart              hostapi.RestartPolicy // empty: the flake's, else auto
	UpdateFlake          string                // empty: the flake's
	DryRun               bool
	Confirm              Confirm
	Wait                 time.Duration // for the VM's lock; 0: not
	Settle               hostapi.SettleChoice
	Building             Building
	NoGuest              bool // see Resolved
}

// Building says where a VM is evaluated and built.
type Building struct {
	On *microvm.BuildPlace // nil: where the flake says, else on the host
	// NoSubstitute sends the host all that was built elsewhere. Otherwise it
	// fetches from its own caches what they have.
	NoSubstitute bool
	// EvalOnHost: the host evaluates and builds, from a copy of the flake.
	EvalOnHost bool
}

// Rollback is what the user wants to go back to.
type Rollback struct {
	Name     microvm.Name
	Host     microvm.Address
	HostSudo bool
	// Target is the guest's; nil: what the last deployment recorded on the host, if
	// that is this machine or the user confirms it.
	Target     *microvm.Address
	TargetSudo bool
	To         int                   // a generation; 0: the one before the current
	Restart    hostapi.RestartPolicy // empty: auto
	DryRun     bool
	Confirm    Confirm
	Wait       time.Duration // for the VM's lock; 0: not
	Settle     hostapi.SettleChoice
	NoGuest    bool // see Resolved
}

// Request is the same as any other deployment's.
func (r Rollback) Request() Deploy {
	return Deploy{
		Attribute: r.Name, Host: &r.Host, HostSudo: r.HostSudo, Target: r.Target, TargetSudo: r.TargetSudo,
		Action: hostapi.ActionSwitch, Restart: r.Restart, DryRun: r.DryRun, Confirm: r.Confirm, Wait: r.Wait,
		Settle: r.Settle, NoGuest: r.NoGuest,
	}
}

// Update is what the user wants of a VM whose runner others have chosen:
// CI, or whoever moves the flake that the VM's `flake` file names.
type Update struct {
	Name     microvm.Name
	Host     microvm.Address
	HostSudo bool
	// Conn is a connection to the host, which stays open; nil: one of its own.
	Conn remote.Conn
	// Target is the guest's; nil: what the last deployment recorded on the host, if
	// that is this machine or the user confirms it.
	Target     *microvm.Address
	TargetSudo bool
	// Source says which runner; nil: what the VM's `flake` file yields.
	Source update.Source
	// AllVMs: the VM was not named, so one that the source has nothing for is
	// passed over.
	AllVMs bool
	// Unattended: a runner whose deployment was undone is not tried again and
	// again, each time with the VM down for a moment.
	Unattended bool
	// AllowOlder takes a build that is older than the installed one of its job.
	AllowOlder bool
	Fetch      Fetch

	Restart hostapi.RestartPolicy // empty: auto
	DryRun  bool
	Confirm Confirm
	Wait    time.Duration // for the VM's lock; 0: not
	Settle  hostapi.SettleChoice
	NoGuest bool // see Resolved
}

// Request is the same as any other deployment's.
func (r Update) Request() Deploy {
	return Deploy{
		Attribute: r.Name, Host: &r.Host, HostSudo: r.HostSudo, Target: r.Target, TargetSudo: r.TargetSudo,
		Action: hostapi.ActionSwitch, Restart: r.Restart, DryRun: r.DryRun, Confirm: r.Confirm, Wait: r.Wait,
		Settle: r.Settle, NoGuest: r.NoGuest,
	}
}

// Fetch says where a prebuilt runner comes from.
type Fetch struct {
	Cache string // a store URL; empty: the host's own substituters
	Relay Relay  // empty: auto
	// Stall is how long a download may stand still, Limit how long it may take; 0:
	// the defaults.
	Stall, Limit time.Duration
}

// Relay says when a runner is copied through this machine instead of by the host
// itself.
type Relay string

// The values of --relay. Auto: where the host can't reach the cache.
const (
	RelayAuto   Relay = "auto"
	RelayAlways Relay = "always"
	RelayNever  Relay = "never"
)

// Attach names a deployment that was left, and where.
type Attach struct {
	Host     microvm.Address
	HostSudo bool
	ID       string       // empty: the only one that has not ended
	Name     microvm.Name // empty: of any VM; else its last one where all have ended
	// Target and TargetSudo win over what this machine remembers of the
	// deployment, and over the flake.
	Target     *microvm.Address
	TargetSudo bool
	// Source is the flake that is asked where this machine remembers nothing.
	Source flake.Source
	// Confirm has the checks that this machine does not keep.
	Confirm Confirm
	// TakeOver ends a session that has the deployment still: one of a connection
	// that is gone, but not for the host.
	TakeOver bool
	Settle   hostapi.SettleChoice
}
