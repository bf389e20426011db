package host

import (
	"time"

	"ferry/internal/microvm"
)

// The requests from the moment on at which a VM is changed.

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
	NoRollback bool   `json:"noRollback,omitempty"` // leave a failure as it is
	Checks     Checks `json:"checks,omitzero"`
	// Seconds is the time that the checks may take, and then the operator's
	// answer; 0: a minute.
	Seconds int `json:"seconds,omitempty"`
	// Await: the operator looks into the guest and says `finish` or `undo`.
	Await bool `json:"await,omitempty"`
	// Command and AcceptFailedUnits are for the operator's look into the guest.
	Command           string `json:"command,omitempty"`
	AcceptFailedUnits bool   `json:"acceptFailedUnits,omitempty"`
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
	TakeOver bool `json:"takeOver,omitempty"`
}

// Resumed answers a ResumeRequest: with Outcome the deployment is over, else the
// session has its lock and it goes on from Phase.
type Resumed struct {
	Deployment Deployment        `json:"deployment"`
	Runner     microvm.StorePath `json:"runner,omitempty"`
	Outcome    string            `json:"outcome,omitempty"`
	Error      string            `json:"error,omitempty"`
	Settled    Settled           `json:"settled,omitempty"`
	Phase      Phase             `json:"phase,omitempty"` // empty: a live switch is under way
	Deadline   time.Time         `json:"deadline,omitzero"`
	Commit     *CommitRequest    `json:"commit,omitempty"`
	System     microvm.StorePath `json:"system,omitempty"`   // in Runner
	HostName   string            `json:"hostName,omitempty"` // of it
}

// CheckRequest asks the VM's checks from the host until all pass, for at most
// Seconds. The answer is empty, the error of KindHealth.
type CheckRequest struct {
	Name    microvm.Name `json:"name"`
	Checks  Checks       `json:"checks"`
	Seconds int          `json:"seconds"`
}

// FinishRequest ends the deployment and writes it to the history.
type FinishRequest struct {
	Name    microvm.Name `json:"name"`
	Outcome string       `json:"outcome"`
	Error   string       `json:"error,omitempty"`
}
