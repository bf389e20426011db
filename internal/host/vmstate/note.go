package vmstate

import (
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Note is the note of a deployment under way; one that is found while nobody
// holds the lock was interrupted. Later versions of ferry read it: fields are
// added, never renamed or removed.
type Note struct {
	hostapi.Deployment
	Runner     microvm.StorePath      `json:"runner,omitempty"`
	Activating bool                   `json:"activating,omitempty"` // a live switch was announced
	Phase      hostapi.Phase          `json:"phase,omitempty"`
	Commit     *hostapi.CommitRequest `json:"commit,omitempty"`     // to finish it
	Before     *Snapshot              `json:"before,omitempty"`     // to undo it
	Invocation string                 `json:"invocation,omitempty"` // of the unit since it was started
	Deadline   time.Time              `json:"deadline,omitzero"`    // for the operator's answer
	Why        string                 `json:"why,omitempty"`        // it is being undone
	Outcome    string                 `json:"outcome,omitempty"`    // once it is done
	LastResort *LastResort            `json:"lastResort,omitempty"` // of a live switch
}

// Reversible: what the deployment does to the host can and shall be undone. A
// live switch is committed only after the guest was confirmed: that is finished
// instead.
func (n *Note) Reversible() bool {
	return n.Commit != nil && n.Before != nil && !n.Commit.Confirm.NoRollback && n.Commit.Activation != hostapi.ActivateLive
}

// Awaits is how long the operator may still answer.
func (n *Note) Awaits(now time.Time) time.Duration {
	if n.Phase != hostapi.PhaseAwait {
		return 0
	}
	return max(0, n.Deadline.Sub(now))
}

// refusal tells somebody else that an answer is awaited.
func (n *Note) refusal(vm microvm.Name) *hostapi.Failure {
	f := hostapi.Lock{By: n.By, Deployment: n.ID, Since: n.Started}.Refusal(vm)
	f.Message += ", which may be confirmed until " + n.Deadline.Format("15:04:05 MST")
	return f
}
