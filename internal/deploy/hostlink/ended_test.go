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
