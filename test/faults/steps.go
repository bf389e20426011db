//go:build lab

package main

import (
	"slices"
	"strings"

	"ferry/internal/guest"
	"ferry/internal/host"
)

// allTrials are every step that the code lists with every fault that a step is
// tried with, and the faults that have a name of their own.
func allTrials() []trial {
	var all []trial
	for _, step := range host.Steps() {
		for _, f := range []fault{helperKilled, hostKilled, connectionCut} {
			all = append(all, trial{
				way: wayTo(step), step: string(step), where: onHost, fault: f,
				unnoted: step == host.StepLock || step == host.StepNote,
			})
		}
	}
	for _, step := range guest.Steps() {
		way := &switched
		if strings.HasPrefix(string(step), string(guest.StepUndo)) {
			way = &takenBack
		}
		for _, f := range []fault{scriptKilled, guestKilled, hostKilled, connectionCut} {
			all = append(all, trial{way: way, step: string(step), where: inGuest, fault: f})
		}
	}
	return slices.Concat(all, namedTrials(), qemuTrials())
}

// wayTo is a deployment that reaches a step. One that is not named here is tried
// with a restart; if that does not reach it either, this is a violation, so that
// a new step is not forgotten.
func wayTo(step host.Step) *way {
	switch {
	case slices.Contains([]host.Step{host.StepActivate, host.StepRunning}, step):
		return &switched
	case step == host.StepAwait:
		return &answered
	case slices.Contains([]host.Step{host.StepUndo, host.StepUndoLink, host.StepUndoGen, host.StepUndoRest, host.StepUndoUnit}, step):
		return &undone
	}
	return &restarted
}
