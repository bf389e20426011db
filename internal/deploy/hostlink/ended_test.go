package hostlink

import (
	"errors"
	"testing"

	"ferry/internal/hostapi"
)

// What the host has neither undone nor finished is no success, and how things
// are is said in the host's words.
func TestDeploymentThatTheHostLeftAloneIsNoSuccess(t *testing.T) {
	for _, settled := range []hostapi.Settled{hostapi.SettledUnconfirmed, hostapi.SettledSuperseded} {
		r := &hostapi.Resumed{Outcome: hostapi.OutcomeInterrupted, Settled: settled, Error: "nothing was undone"}
		err := new(Link).EndedAs(r, errors.New("the connection was lost"))
		var f *hostapi.Failure
		if !errors.As(err, &f) || f.RolledBack || f.State != r.Error || f.Message != "the connection was lost" {
			t.Errorf("%s: got %+v", settled, err)
		}
	}
}

// Undone is not the same as running again: only that is told as rolled back.
func TestUndoneButDownIsNotRolledBack(t *testing.T) {
	for _, down := range []bool{false, true} {
		r := &hostapi.Resumed{Outcome: hostapi.OutcomeRolledBack, Settled: hostapi.SettledUndone, Error: "how things are", Down: down}
		var f *hostapi.Failure
		if err := new(Link).EndedAs(r, errors.New("the connection was lost")); !errors.As(err, &f) || f.RolledBack == down || f.State != r.Error {
			t.Errorf("down %v: got %+v", down, err)
		}
	}
}
