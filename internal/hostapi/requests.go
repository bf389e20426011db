package hostapi

import (
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"ferry/internal/health"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// ProtocolVersion changes whenever a helper could misunderstand an operator of
// another version. The operator uploads its own binary, so the two differ only
// where a host brings a ferry of its own.
const ProtocolVersion = 1

// Request is one line of JSON on the helper's stdin. Exactly one of the
// pointers is set. A session answers each request with any number of `log` and
// `item` events and then one `result` or `error`; it ends at end-of-file, and with
// it everything the session holds: the VM's lock and a build under way.
type Request struct {
	// ID comes back in all that answers the request, so that nobody takes it for
	// the answer to another one. 0: none comes back.
	ID uint64 `json:"id,omitempty"`
	// Protocol is the operator's ProtocolVersion. 0: 1, from before it was said.
	Protocol int `json:"protocol,omitempty"`

	Probe    *ProbeRequest    `json:"probe,omitempty"`
	Prepare  *PrepareRequest  `json:"prepare,omitempty"`
	Missing  *MissingRequest  `json:"missing,omitempty"`
	Evaluate *EvaluateRequest `json:"evaluate,omitempty"`
	Build    *BuildRequest    `json:"build,omitempty"`
	Fetch    *FetchRequest    `json:"fetch,omitempty"`
	Plan     *PlanRequest     `json:"plan,omitempty"`
	Activate *ActivateRequest `json:"activate,omitempty"`
	Observe  *ObserveRequest  `json:"observe,omitempty"`
	Commit   *CommitRequest   `json:"commit,omitempty"`
	Finish   *FinishRequest   `json:"finish,omitempty"`
	Undo     *UndoRequest     `json:"undo,omitempty"`
	Reboot   *RebootRequest   `json:"reboot,omitempty"`
	Resume   *ResumeRequest   `json:"resume,omitempty"`
	Underway *UnderwayRequest `json:"underway,omitempty"`
	Rollback *RollbackRequest `json:"rollback,omitempty"`
	Check    *CheckRequest    `json:"check,omitempty"`
	Token    *TokenRequest    `json:"token,omitempty"`
	Alive    *AliveRequest    `json:"alive,omitempty"`

	Commands
}

// Event is one line of JSON on the helper's stdout.
type Event struct {
	Event  EventName       `json:"event"`
	ID     uint64          `json:"id,omitempty"` // of the request; 0: of none, or it had none
	Source string          `json:"source,omitempty"`
	Line   string          `json:"line,omitempty"`
	Item   json.RawMessage `json:"item,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Failure        `json:"error,omitempty"`
}

// EventName says what an event is.
type EventName string

// The events. Log is progress, for people; Item is a part of an answer that comes
// in parts; Result and Error end the answer; Alive meets an AliveRequest.
const (
	EventLog    EventName = "log"
	EventItem   EventName = "item"
	EventResult EventName = "result"
	EventError  EventName = "error"
	EventAlive  EventName = "alive"
)

// FailureKind tells the operator's side what to make of a Failure.
type FailureKind string

// The kinds of failure. Refused means that nothing was changed.
const (
	KindFailed  FailureKind = "failed"
	KindRefused FailureKind = "refused"
	KindLocked  FailureKind = "locked"
	KindBuild   FailureKind = "build"
	KindUnit    FailureKind = "unit"
	KindHealth  FailureKind = "health"
	// KindUnreachable: a cache does not answer, or not to its end.
	KindUnreachable FailureKind = "unreachable"
)

// Failure is an error that crosses from the host to the operator.
type Failure struct {
	Kind    FailureKind `json:"kind"`
	Message string      `json:"message"`
	Hint    string      `json:"hint,omitempty"`
	Log     []string    `json:"log,omitempty"` // the end of the log that shows why
	// See is the section of docs/troubleshooting.md about it.
	See trouble.Section `json:"see,omitempty"`
	// RolledBack: all that had been changed was undone. State says how things
	// are, where something had been changed.
	RolledBack bool   `json:"rolledBack,omitempty"`
	State      string `json:"state,omitempty"`
}

func (f *Failure) Error() string { return f.Message }

// Section is the section of docs/troubleshooting.md about it.
func (f *Failure) Section() trouble.Section { return f.See }

// About is the failure with its section of docs/troubleshooting.md.
func (f *Failure) About(s trouble.Section) *Failure {
	f.See = s
	return f
}

// Refuse makes a *Failure of KindRefused: nothing was changed. The hint says
// what to do next.
func Refuse(message, hint string) *Failure {
	return &Failure{Kind: KindRefused, Message: message, Hint: hint}
}

// Action is what a deployment does with the new runner, as in nixos-rebuild.
type Action string

// The actions. Boot is also what `ferry install` does.
const (
	ActionSwitch      Action = "switch"
	ActionBoot        Action = "boot"
	ActionTest        Action = "test"
	ActionDryActivate Action = "dry-activate"
)

// RestartPolicy says when the VM's unit is restarted.
type RestartPolicy string

// The policies of --restart.
const (
	RestartAuto     RestartPolicy = "auto"
	RestartIfNeeded RestartPolicy = "if-needed"
	RestartAlways   RestartPolicy = "always"
	RestartNever    RestartPolicy = "never"
)

// ProbeRequest asks for facts, before anything is touched. With Record set, the
// answer also has the plan, as far as it can be known before the build.
type ProbeRequest struct {
	Name   microvm.Name    `json:"name"`
	Record *microvm.Record `json:"record,omitempty"`
	// GuestSystem is what the guest says it runs, where it was asked.
	GuestSystem microvm.StorePath `json:"guestSystem,omitempty"`
	// Origin asks for Facts.Origin.
	Origin bool `json:"origin,omitempty"`
	Intent
}

// Intent is what the user wants, the same in every request of a deployment.
type Intent struct {
	Action      Action        `json:"action,omitempty"`
	Restart     RestartPolicy `json:"restart,omitempty"`
	TargetKnown bool          `json:"targetKnown,omitempty"`
	UpdateFlake string        `json:"updateFlake,omitempty"` // what `flake` shall hold; empty leaves it
}

// PrepareRequest takes the VM's lock and roots what will be copied and built.
type PrepareRequest struct {
	Name        microvm.Name        `json:"name"`
	Deployment  Deployment          `json:"deployment"`
	Derivations []microvm.StorePath `json:"derivations,omitempty"`
	Runner      microvm.StorePath   `json:"runner,omitempty"`      // empty where only the build tells
	GuestSystem microvm.StorePath   `json:"guestSystem,omitempty"` // what the guest says it runs
	WaitSeconds int                 `json:"waitSeconds,omitempty"` // for the lock
	Settle      SettleChoice        `json:"settle,omitempty"`
	// Guest is where the guest takes logins: whether the host can connect there is
	// noted, see RebootRequest.
	Guest *GuestDoor `json:"guest,omitempty"`
}

// SettleChoice is what becomes of an earlier deployment that was left unfinished,
// and whose runner runs though nobody has confirmed it.
type SettleChoice string

// The choices. Empty: it is kept where its checks hold now, else that is refused.
const (
	SettleKeep SettleChoice = "keep" // as it is
	SettleUndo SettleChoice = "undo" // what ran before is started again
)

// SettleChoices are those that can be named.
func SettleChoices() []SettleChoice { return []SettleChoice{SettleKeep, SettleUndo} }

// Prepared answers a PrepareRequest.
type Prepared struct {
	NixVersion string `json:"nixVersion"`
	// Waited: another deployment had the lock until now, so what was seen before
	// may be different.
	Waited bool `json:"waited,omitempty"`
}

// Deployment identifies one run for one VM.
type Deployment struct {
	ID       string    `json:"id"`
	By       string    `json:"by"`
	Started  time.Time `json:"started"`
	Flake    string    `json:"flake,omitempty"`
	Revision string    `json:"revision,omitempty"`
	Build    string    `json:"build,omitempty"`   // where an update came from: a build's page, a URL or a file
	Job      string    `json:"job,omitempty"`     // the address of Hydra's job, where it is of one,
	BuildID  int64     `json:"buildId,omitempty"` // and the build's number there
	Action   Action    `json:"action"`
	// Target is the address of the system inside, where it was known: a later
	// rollback needs it, and the flake may be gone by then.
	Target     string `json:"target,omitempty"`
	TargetSudo bool   `json:"targetSudo,omitempty"`
	// RollbackTo is the generation that a rollback went back to.
	RollbackTo int `json:"rollbackTo,omitempty"`
}

// MissingRequest asks which of the paths the host's store lacks.
type MissingRequest struct {
	Paths []microvm.StorePath `json:"paths"`
	// Substitute fetches before what the host's own caches have of them, signed
	// by keys that the host trusts.
	Substitute bool `json:"substitute,omitempty"`
}

// BuildRequest builds derivations under the VM's lock; the first is the
// runner's, whose output is the answer.
type BuildRequest struct {
	Name        microvm.Name        `json:"name"`
	Derivations []microvm.StorePath `json:"derivations,omitempty"`
	// Built is a runner that was built elsewhere and copied to the host, instead
	// of derivations: it is only checked and rooted.
	Built microvm.StorePath `json:"built,omitempty"`
}

// Built answers a BuildRequest.
type Built struct {
	Runner microvm.StorePath `json:"runner"`
}

// PlanRequest asks what to do with a runner that is in the host's store.
type PlanRequest struct {
	Name        microvm.Name      `json:"name"`
	Runner      microvm.StorePath `json:"runner"`
	Record      *microvm.Record   `json:"record,omitempty"`
	GuestSystem microvm.StorePath `json:"guestSystem,omitempty"`
	Intent
}

// ActivateRequest announces a live switch: from here on the new runner stays
// rooted until the guest is known to run something else.
type ActivateRequest struct {
	Name   microvm.Name      `json:"name"`
	Runner microvm.StorePath `json:"runner"`
	// Commit is what comes after it, for whoever takes the deployment over.
	Commit *CommitRequest `json:"commit,omitempty"`
}

// ObserveRequest tells the host what a guest runs, so that it is kept from
// garbage collection.
type ObserveRequest struct {
	Name   microvm.Name      `json:"name"`
	System microvm.StorePath `json:"system"`
	Failed bool              `json:"failed,omitempty"` // the switch to it did
}

// CommitRequest makes a runner the VM's current one, restarts or starts the
// unit where Activation says so, and notes what a live-switched guest runs.
type CommitRequest struct {
	Name        microvm.Name      `json:"name"`
	Runner      microvm.StorePath `json:"runner"`
	Record      *microvm.Record   `json:"record,omitempty"`
	Install     bool              `json:"install"`
	UpdateFlake string            `json:"updateFlake,omitempty"`
	Activation  Activation        `json:"activation"`
	// GuestSystem is set after a live switch, or where the guest was seen.
	GuestSystem microvm.StorePath `json:"guestSystem,omitempty"`
	// Generation is the existing one that Runner is; 0: a new one is made.
	Generation int          `json:"generation,omitempty"`
	Confirm    Confirmation `json:"confirm,omitzero"`
}

// Confirmation says what shows that a VM is well after its unit was started.
type Confirmation struct {
	NoRollback bool          `json:"noRollback,omitempty"` // leave a failure as it is
	Checks     health.Checks `json:"checks,omitzero"`
	// Seconds is the time that the checks may take, and then the operator's
	// answer; 0: a minute.
	Seconds int `json:"seconds,omitempty"`
	// Await: the operator looks into the guest and says `finish` or `undo`.
	Await bool `json:"await,omitempty"`
	// Command and AcceptFailedUnits are for the operator's look into the guest. Newer
	// operators keep the command to themselves, and name it in Withheld.
	Command           string `json:"command,omitempty"`
	AcceptFailedUnits bool   `json:"acceptFailedUnits,omitempty"`
	// Withheld are the names of checks that are not here, since they may contain a
	// secret: who has only this can't ask whether they hold.
	Withheld []string `json:"withheld,omitempty"`
}

// Open is the confirmation as it may be written down.
func (c Confirmation) Open() Confirmation {
	open, withheld := c.Checks.Open()
	if c.Command != "" {
		withheld = append(withheld, health.Command)
	}
	c.Checks, c.Command = open, ""
	c.Withheld = slices.Concat(c.Withheld, withheld)
	return c
}

// Open is the request as it may be written down.
func (c *CommitRequest) Open() *CommitRequest {
	if c == nil {
		return nil
	}
	open := *c
	open.Confirm = c.Confirm.Open()
	return &open
}

// Committed answers a CommitRequest.
type Committed struct {
	Generation int       `json:"generation,omitempty"`
	Unit       UnitState `json:"unit"`
	// Deadline is when all is undone unless the operator says `finish`.
	Deadline time.Time `json:"deadline,omitzero"`
}

// UndoRequest undoes a commit whose answer is awaited.
type UndoRequest struct {
	Name microvm.Name `json:"name"`
	Why  string       `json:"why"`
}

// Undone answers an UndoRequest.
type Undone struct {
	State string `json:"state"` // how things are
}

// UnderwayRequest asks which deployments have not ended. With ID it is for that
// one only, also where it has; with Name for the VM's, or its last one where all
// have.
type UnderwayRequest struct {
	ID   string       `json:"id,omitempty"`
	Name microvm.Name `json:"name,omitempty"`
}

// Underway is a deployment that has not ended, or the one that was asked for.
type Underway struct {
	Name       microvm.Name `json:"name"`
	Deployment Deployment   `json:"deployment"`
	Phase      Phase        `json:"phase,omitempty"`
	Outcome    string       `json:"outcome,omitempty"` // it has ended
	Working    bool         `json:"working,omitempty"` // a process works on it
}

// ResumeRequest takes over a deployment whose connection was lost. The work that
// is under way is waited for, and what it says is shown.
type ResumeRequest struct {
	Name microvm.Name `json:"name"`
	ID   string       `json:"id"`
	// TakeOver tells a session that has the deployment to end.
	TakeOver bool         `json:"takeOver,omitempty"`
	Settle   SettleChoice `json:"settle,omitempty"`
}

// Resumed answers a ResumeRequest: with Outcome the deployment is over, else the
// session has its lock and it goes on from Phase.
type Resumed struct {
	Deployment Deployment        `json:"deployment"`
	Runner     microvm.StorePath `json:"runner,omitempty"`
	Outcome    string            `json:"outcome,omitempty"`
	Error      string            `json:"error,omitempty"`
	Settled    Settled           `json:"settled,omitempty"`
	Down       bool              `json:"down,omitempty"`  // see HistoryEntry
	Phase      Phase             `json:"phase,omitempty"` // empty: a live switch is under way
	Deadline   time.Time         `json:"deadline,omitzero"`
	Commit     *CommitRequest    `json:"commit,omitempty"`
	System     microvm.StorePath `json:"system,omitempty"`   // in Runner
	HostName   string            `json:"hostName,omitempty"` // of it
}

// CheckRequest asks the VM's checks from the host until all pass, for at most
// Seconds. The answer is empty, the error of KindHealth.
type CheckRequest struct {
	Name    microvm.Name  `json:"name"`
	Checks  health.Checks `json:"checks"`
	Seconds int           `json:"seconds"`
}

// FinishRequest ends the deployment and writes it to the history.
type FinishRequest struct {
	Name    microvm.Name `json:"name"`
	Outcome string       `json:"outcome"`
	Error   string       `json:"error,omitempty"`
}

// TokenRequest adds a small file of that name to the host's store; the answer is its
// path. Nobody could know the name before, so a machine that sees the path shares
// this store: it is a guest of this host.
type TokenRequest struct {
	Name string `json:"name"` // TokenName's
}

// TokenName is what a token may be called.
var TokenName = regexp.MustCompile(`^ferry-token-[0-9a-f]{32}$`)

// AliveRequest is a sign of life: where no other follows within Seconds, the
// operator's side is gone, though nothing has told the connection so, and the
// session ends as at end-of-file. It may come at any time, and is met by an
// `alive` event.
type AliveRequest struct {
	Seconds int `json:"seconds"`
}

// checksTimeout is for checks whose time nobody named.
const checksTimeout = time.Minute

// Within is the time that checks and the operator's answer may take.
func (c Confirmation) Within() time.Duration {
	if c.Seconds > 0 {
		return time.Duration(c.Seconds) * time.Second
	}
	return checksTimeout
}

// Grace is how much longer than the operator, who takes at most within for all
// answers, the host or the guest waits: an operator who is there always decides.
func Grace(within time.Duration) time.Duration { return 10*time.Second + within/3 }

// Starts reports whether the unit is started.
func (a Activation) Starts() bool { return a == ActivateRestart || a == ActivateStart }

// FetchRequest downloads the runner that was prepared, with all that it refers
// to, from a binary cache. The keys that the host trusts decide what comes in.
type FetchRequest struct {
	Name  microvm.Name `json:"name"`
	Cache string       `json:"cache,omitempty"` // a store URL; empty: the host's own substituters
	// StallSeconds is how long a download may stand still, LimitSeconds how long
	// all of it may take; 0: the defaults.
	StallSeconds int `json:"stallSeconds,omitempty"`
	LimitSeconds int `json:"limitSeconds,omitempty"`
}

// The defaults of a FetchRequest.
const (
	FetchStall = time.Minute
	FetchLimit = 6 * time.Hour
)

func (r FetchRequest) Times() (stall, limit time.Duration) {
	stall, limit = FetchStall, FetchLimit
	if r.StallSeconds > 0 {
		stall = time.Duration(r.StallSeconds) * time.Second
	}
	if r.LimitSeconds > 0 {
		limit = time.Duration(r.LimitSeconds) * time.Second
	}
	return stall, limit
}

// EvaluateRequest evaluates a flake on the host, from sources that were copied
// into its store: nothing is fetched, and no checkout is made.
type EvaluateRequest struct {
	Name  microvm.Name `json:"name"`
	Flake string       `json:"flake"` // path:/nix/store/…
	// Expression is a Nix function that is applied to the flake's outputs.
	Expression string   `json:"expression"`
	Options    []string `json:"options,omitempty"` // of nix eval
	// Locks is the lock file in force where the flake was copied from.
	Locks json.RawMessage `json:"locks,omitempty"`
}

// Evaluated answers an EvaluateRequest.
type Evaluated struct {
	Output json.RawMessage `json:"output"` // of the expression
}

// RollbackRequest asks for what a rollback goes back to.
type RollbackRequest struct {
	Name microvm.Name `json:"name"`
	To   int          `json:"to,omitempty"` // a generation; 0: the one before the current
}

// RollbackTarget answers a RollbackRequest.
type RollbackTarget struct {
	Generation Generation      `json:"generation"`
	Record     *microvm.Record `json:"record,omitempty"` // nil where ferry did not evaluate that runner
	HostName   string          `json:"hostName,omitempty"`
	// Target is the address of the guest in the last deployment that knew it.
	Target     string `json:"target,omitempty"`
	TargetSudo bool   `json:"targetSudo,omitempty"`
}
