package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// unfinished is the note of a deployment under way; one that is found while
// nobody holds the lock was interrupted.
type unfinished struct {
	hostapi.Deployment
	Runner     microvm.StorePath      `json:"runner,omitempty"`
	Activating bool                   `json:"activating,omitempty"` // a live switch was announced
	Phase      hostapi.Phase          `json:"phase,omitempty"`
	Commit     *hostapi.CommitRequest `json:"commit,omitempty"`     // to finish it
	Before     *snapshot              `json:"before,omitempty"`     // to undo it
	Invocation string                 `json:"invocation,omitempty"` // of the unit since it was started
	Deadline   time.Time              `json:"deadline,omitzero"`    // for the operator's answer
	Why        string                 `json:"why,omitempty"`        // it is being undone
	Outcome    string                 `json:"outcome,omitempty"`    // once it is done
}

// reversible: what the deployment does to the host can and shall be undone. A
// live switch is committed only after the guest was confirmed: that is finished
// instead.
func (u *unfinished) reversible() bool {
	return u.Commit != nil && u.Before != nil && !u.Commit.Confirm.NoRollback && u.Commit.Activation != hostapi.ActivateLive
}

// awaits is how long the operator may still answer.
func (u *unfinished) awaits() time.Duration {
	if u.Phase != hostapi.PhaseAwait {
		return 0
	}
	return max(0, time.Until(u.Deadline))
}

// refusal tells somebody else that an answer is awaited.
func (u *unfinished) refusal(n microvm.Name) *hostapi.Failure {
	f := hostapi.Lock{By: u.By, Deployment: u.ID, Since: u.Started}.Refusal(n)
	f.Message += ", which may be confirmed until " + u.Deadline.Format("15:04:05 MST")
	return f
}

// snapshot is a VM as it was before a deployment changed it.
type snapshot struct {
	Directory  bool              `json:"directory"` // the VM's directory was there
	Current    microvm.StorePath `json:"current,omitempty"`
	Old        microvm.StorePath `json:"old,omitempty"`
	Booted     microvm.StorePath `json:"booted,omitempty"`
	Generation int               `json:"generation,omitempty"` // the profile's; 0: none
	// Generations are the numbers of all.
	Generations []int             `json:"generations,omitempty"`
	Flake       *string           `json:"flake,omitempty"` // nil: there was no such file
	ToStart     bool              `json:"toStart,omitempty"`
	Unit        hostapi.UnitState `json:"unit"`
	// Switched: the guest had been switched live to the system of Current.
	Switched bool `json:"switched,omitempty"`
}

// snapshot reads what a deployment may change.
func (s *Server) snapshot(n microvm.Name, vm *hostapi.VMState) (*snapshot, error) {
	l := s.layout
	b := &snapshot{
		Current: vm.Current, Old: vm.Old, Booted: vm.Booted, Unit: vm.Unit, ToStart: vm.ToStart,
		Generation: l.generation(n),
	}
	if _, err := os.Lstat(l.vmDir(n)); err == nil {
		b.Directory = true
	}
	var err error
	if b.Generations, err = l.generationNumbers(n); err != nil {
		return nil, err
	}
	if vm.Current != "" && vm.Running != "" {
		if r, err := runner.Open(l.Root, vm.Current); err == nil {
			b.Switched = r.System == vm.Running
		}
	}
	dir, err := l.openVMDir(n)
	if err != nil || dir == nil {
		return b, err
	}
	defer dir.close()
	var notOurs *notOursError
	switch content, err := dir.readSmall(flakeFile, maxFlakeFile); {
	case err == nil:
		text := string(content)
		b.Flake = &text
	case !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &notOurs): // which must never come back as root's
		return nil, err
	}
	return b, nil
}

// boots is the runner that the unit is to be started with when all is undone:
// the one that ran, which is not always the one that was installed.
func (b *snapshot) boots() microvm.StorePath {
	if b.Unit.Up() && b.Booted != "" && !b.Switched {
		return b.Booted
	}
	return b.Current
}

// generationNumbers are the numbers of a VM's generations, in ascending order.
func (l Layout) generationNumbers(n microvm.Name) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(l.profile(n)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if number, ok := generationNumber(e.Name()); ok {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
