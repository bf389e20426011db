package vmstate

import (
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// LastResort is what a restart of a VM rests on whose guest has not come back from the
// undo of a live switch. It is made once in a deployment.
type LastResort struct {
	Door hostapi.GuestDoor `json:"door"`
	// Reached: when the deployment began, this host could connect to the guest.
	Reached bool `json:"reached,omitempty"`
	// Invocation is of the unit when the switch was announced.
	Invocation string `json:"invocation,omitempty"`

	// Made is when the restart was decided; zero: it was not.
	Made time.Time `json:"made,omitzero"`
	// Boots is the runner that the unit is restarted with, Current what `current`
	// names before and afterwards.
	Boots   microvm.StorePath `json:"boots,omitempty"`
	Current microvm.StorePath `json:"current,omitempty"`
	// Back: it names Current again, so that what it names from now on is somebody's wish.
	Back bool `json:"back,omitempty"`
	// Ran is what the guest ran before, Why says in words how that differs.
	Ran microvm.StorePath `json:"ran,omitempty"`
	Why string            `json:"why,omitempty"`
}

// PutBack gives `current` back what it named before a restart with another runner,
// where that was broken off. Somebody else's `current` is left alone.
func (l *LastResort) PutBack(vm VM, current microvm.StorePath) error {
	if l == nil || l.Made.IsZero() || l.Back || l.Boots == l.Current || current != l.Boots {
		return nil
	}
	return vm.MoveLink("current", l.Current, l.Boots)
}
